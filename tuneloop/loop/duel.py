"""A blind duel: a person compares two contestants' answers to real held-out questions, each pair in both orders.

Order flips up to 30 % of verdicts, so a question counts as decided only when both orders agree; anything else is a
tie. Every click is a row, committed before the next pair is shown.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from tuneloop import versions
from tuneloop.collect import dataset as datasets
from tuneloop.db.tables import judgements
from tuneloop.errors import BadInput
from tuneloop.loop.chat import BASE, HISTORY, Loaded
from tuneloop.progress import Progress, silent
from tuneloop.records import Example, Version
from tuneloop.search.history import History
from tuneloop.stats import clicks_needed, wilson
from tuneloop.texts import _
from tuneloop.workspace import Workspace, write_json

PERSON = "person"  # the real answer, as a contestant
FEWEST_DECIDED = 100  # below this a win rate's interval is wider than +-10 points; said beside every figure


@dataclass(frozen=True)
class Pair:
    """One showing: `left` and `right` are what the person sees; `swapped` says that B is on the left."""

    example: Example
    left: str
    right: str
    swapped: bool

    @property
    def subject(self) -> str:
        return f"{self.example.id}/{'ba' if self.swapped else 'ab'}"


@dataclass(frozen=True)
class Standing:
    """What the clicks say so far. Ties count half to each side; the interval is Wilson's over decided pairs."""

    a: str
    b: str
    wins_a: int
    wins_b: int
    ties: int
    half_done: int  # questions clicked in one order only
    rate_a: float | None
    low: float
    high: float
    more_clicks: int | None  # until the interval would exclude one half, if the rate stays; None: no end in sight

    @property
    def decided(self) -> int:
        return self.wins_a + self.wins_b


def contestant_answers(
    workspace: Workspace, version: Version, contestant: str, watch: Progress = silent
) -> dict[str, str]:
    """Answers of a contestant to the held-out questions of the version's dataset, by example id; made once and kept.

    contestant: "base", "history", "person", or a version's id or name.
    """
    data = datasets.load(workspace.path / str(version.meta["dataset_path"]))
    held_out = data.examples("test")
    if contestant == PERSON:
        return {e.id: e.answer for e in held_out}
    if contestant == HISTORY:
        history = History(data.examples("train"))
        return {e.id: history.answer(e.question) for e in held_out}
    chosen = version if contestant == BASE else versions.find(workspace, contestant)
    stored = workspace.folder("runs") / f"duel-{data.id}-{chosen.id}{'-base' if contestant == BASE else ''}.json"
    if stored.exists():
        return dict(json.loads(stored.read_text(encoding="utf-8")))
    model = Loaded(workspace, chosen, data.system, watch)
    said = model.answers(held_out, _("writing answers"), adapter=contestant != BASE)
    write_json(stored, said)
    return said


def pairs(
    workspace: Workspace, version: Version, a: str, b: str, *, rater: str, watch: Progress = silent
) -> list[Pair]:
    """Every showing this rater has not clicked yet: first each question once, sides by chance, then all swapped.

    Questions on which both say the same are left out. Raises BadInput when both contestants are one.
    """
    if a == b:
        raise BadInput(_("a duel needs two different contestants"), fix=_("For example: tuneloop duel latest base."))
    answers = {c: contestant_answers(workspace, version, c, watch) for c in (a, b)}
    data = datasets.load(workspace.path / str(version.meta["dataset_path"]))
    differing = [e for e in data.examples("test") if answers[a][e.id].strip() != answers[b][e.id].strip()]
    chance = random.Random(f"{data.id}:{a}:{b}")
    chance.shuffle(differing)
    first = [(e, chance.random() < 0.5) for e in differing]
    second = [(e, not swapped) for e, swapped in first]
    clicked = _clicked(workspace, version, a, b, rater)
    shown = []
    for example, swapped in (*first, *second):
        left, right = (b, a) if swapped else (a, b)
        pair = Pair(example, answers[left][example.id], answers[right][example.id], swapped)
        if pair.subject not in clicked:
            shown.append(pair)
    return shown


def record(workspace: Workspace, version: Version, a: str, b: str, pair: Pair, said: str, *, rater: str) -> None:
    """Keep a click: said is "left", "right" or "tie"."""
    meta = {"a": a, "b": b, "example": pair.example.id}
    subject = f"{_name(version, a, b)}/{pair.subject}"
    with workspace.db.write() as rows:
        keep(rows, "duel", subject, side(said, swapped=pair.swapped), rater, meta)


def undo(workspace: Workspace, version: Version, a: str, b: str, pair: Pair, *, rater: str) -> None:
    """Take a click back."""
    with workspace.db.write() as rows:
        drop(rows, "duel", f"{_name(version, a, b)}/{pair.subject}", rater)


def side(said: str, *, swapped: bool) -> str:
    """ "left", "right" or "tie" as "a", "b" or "tie"; swapped: b stood on the left."""
    return {"left": "b" if swapped else "a", "right": "a" if swapped else "b", "tie": "tie"}[said]


def keep(rows: Connection, kind: str, subject: str, verdict: str, rater: str, meta: dict[str, Any]) -> None:
    """Write what a person judged; what they said of the same subject before is replaced."""
    drop(rows, kind, subject, rater)
    row = {"kind": kind, "subject": subject, "verdict": verdict, "rater": rater, "time": int(time.time()), "meta": meta}
    rows.execute(insert(judgements), [row])


def drop(rows: Connection, kind: str, subject: str, rater: str) -> int:
    """Take back what a person said of a subject; how many rows went (0 or 1)."""
    theirs = (judgements.c.kind == kind, judgements.c.subject == subject, judgements.c.rater == rater)
    return rows.execute(delete(judgements).where(*theirs)).rowcount


def standing(workspace: Workspace, version: Version, a: str, b: str) -> Standing:
    """Count what all raters have clicked."""
    questions: dict[tuple[str, str], list[str]] = {}
    for subject, verdict, rater in _rows(workspace, version, a, b):
        questions.setdefault((subject.split("/")[-2], rater), []).append(verdict)
    both = [v for v in questions.values() if len(v) == 2]
    return tally(a, b, both, half_done=len(questions) - len(both))


def tally(a: str, b: str, both: Sequence[Sequence[str]], half_done: int = 0) -> Standing:
    """From the two verdicts ("a", "b", "tie") of each question to wins, ties and an interval."""
    wins_a = sum(v[0] == v[1] == "a" for v in both)
    wins_b = sum(v[0] == v[1] == "b" for v in both)
    decided = wins_a + wins_b
    low, high = wilson(wins_a, decided)
    rate = wins_a / decided if decided else None
    return Standing(
        a, b, wins_a, wins_b, len(both) - decided, half_done, rate, low, high, _more_clicks(wins_a, decided, len(both))
    )


def _more_clicks(wins_a: int, decided: int, questions: int) -> int | None:
    def certain(wins: int, n: int) -> bool:
        low, high = wilson(wins, n)
        return low > 0.5 or high < 0.5

    needed = clicks_needed(wins_a, decided, certain)
    return needed and math.ceil(needed * questions / decided) * 2  # each question takes two clicks


def _name(version: Version, a: str, b: str) -> str:
    return f"{version.meta['dataset']}/{a}/{b}"


def _rows(workspace: Workspace, version: Version, a: str, b: str) -> list[Any]:
    query = select(judgements.c.subject, judgements.c.verdict, judgements.c.rater).where(
        judgements.c.kind == "duel", judgements.c.subject.startswith(_name(version, a, b) + "/", autoescape=True)
    )
    with workspace.db.read() as rows:
        return list(rows.execute(query))


def _clicked(workspace: Workspace, version: Version, a: str, b: str, rater: str) -> set[str]:
    prefix = len(_name(version, a, b)) + 1
    return {subject[prefix:] for subject, _v, who in _rows(workspace, version, a, b) if who == rater}
