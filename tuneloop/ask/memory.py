"""What people confirmed of earlier questions, used again: found by its words, filled with the new question's values.

A question is kept as its shape: words by their dictionary forms, columns by name, and what may change (cells, numbers,
dates) as slots. A new question of the same shape gets the confirmed SQL with its own values in the places of the old
ones. Every word with a meaning has to be there: a question that says more, or less, is another question.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Profile
from tuneloop.ask.question import LONGEST
from tuneloop.ask.scene import Scene, open_scene
from tuneloop.ask.words import forms
from tuneloop.texts import _

FORM = 1  # of a shape; shapes of another form are not compared
MOST = 1000  # clicks looked at, the newest
SAME, FILLED = 0.98, 0.95  # how sure: the very question, or the question with other values
SIGNS = frozenset({"<", ">", "=", "<=", ">=", "!=", "≥", "≤", "%"})

Verdict = Literal["right", "wrong"]
# ["word", forms, cues] | ["column", name] | ["cell", column, value] | ["number", value] | ["days", first, after]
Part = list[Any]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One click: this SQL is what such a question means, or is not. `columns`: `mark` of the table's profile."""

    columns: str
    question: str
    sql: str
    verdict: Verdict
    shape: tuple[Part, ...]
    time: float  # Unix seconds
    user: str = ""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is known of a question: the SQL to use, if there is one, and SQL that people said is not meant."""

    sql: str | None
    sure: float = 0.0
    why: str = ""
    wrong: frozenset[str] = frozenset()


def mark(profile: Profile) -> str:
    """Names and kinds of the columns as 16 hex digits: next month's file of the same form is the same table."""
    named = [(column.name.strip().lower(), column.kind) for column in profile.columns]
    return hashlib.sha256(json.dumps([FORM, named], ensure_ascii=False).encode()).hexdigest()[:16]


def recall(question: str, profile: Profile, known: Sequence[Confirmed]) -> Recalled:
    """What clicks say of this question; the newest one that fits decides. known: newest first."""
    if not known:
        return Recalled(None)
    asked = shape(question, profile)
    wrong: set[str] = set()
    for one in known[:MOST]:
        if not fits(one.shape, asked) or (sql := filled(one.sql, one.shape, asked)) is None:
            continue
        if one.verdict == "wrong":
            wrong.add(sql)
        elif sql not in wrong:
            same = sql == one.sql
            day = datetime.fromtimestamp(one.time).date().isoformat()
            why = (
                _("confirmed on {day}").format(day=day)
                if same
                else _("as confirmed on {day} for “{question}”").format(day=day, question=one.question)
            )
            return Recalled(sql, SAME if same else FILLED, why, frozenset(wrong))
    return Recalled(None, wrong=frozenset(wrong))


def shape(question: str, profile: Profile) -> tuple[Part, ...]:
    """The parts of a question that carry its meaning, from left to right."""
    scene = open_scene(question[:LONGEST], profile)
    found: dict[int, Part] = {}
    taken: set[int] = set()
    for mention in sorted(scene.mentions, key=lambda m: m.cell is None):  # cells first
        if mention.rivals or not mention.places.isdisjoint(taken):
            continue
        if mention.cell is not None and mention.whole:
            found[mention.start] = ["cell", mention.column.name, mention.cell]
        elif mention.cell is None and mention.score >= 0.7 and not _is_cue(scene, mention.places):
            found[mention.start] = ["column", mention.column.name]
        else:
            continue
        taken |= mention.places
    for span in scene.spans:
        if taken.isdisjoint(range(span.start, span.end)):
            found[span.start] = ["days", span.first.isoformat(), span.after.isoformat()]
            taken |= set(range(span.start, span.end))
    for said in scene.numbers:
        if taken.isdisjoint(range(said.start, said.end)):
            found[said.start] = ["number", said.value]
            taken |= set(range(said.start, said.end))
    for i, token in enumerate(scene.tokens):
        cues = sorted({c.name for c in scene.cues if c.start <= i < c.end})
        if i in taken or (lexicon.is_filler(token) and not cues and token.text not in SIGNS):
            continue
        found[i] = ["word", sorted(token.keys | forms(token.text)), cues]
    return tuple(found[i] for i in sorted(found))


def is_shape(parts: object) -> bool:
    """Whether something read from a file has the form that `shape` gives."""
    lengths = {"word": 3, "column": 2, "cell": 3, "number": 2, "days": 3}
    if not isinstance(parts, list):
        return False
    for part in parts:
        if not isinstance(part, list) or not part or lengths.get(str(part[0])) != len(part):
            return False
        if part[0] == "word" and not (isinstance(part[1], list) and isinstance(part[2], list)):
            return False
        if part[0] == "number" and not (isinstance(part[1], int | float) and math.isfinite(part[1])):
            return False
    return True


def _is_cue(scene: Scene, places: frozenset[int]) -> bool:
    """Whether words say both a column and what is wanted of it ("the longest"): then they stay words."""
    return any(set(range(c.start, c.end)) <= places for c in scene.cues if c.name in ("max", "min", "mean", "sum"))


def fits(kept: Sequence[Part], asked: Sequence[Part]) -> bool:
    """Whether two shapes say the same but for values; with one value at most, in any order of the words."""
    if len(kept) != len(asked):
        return False
    if all(_meet(a, b) for a, b in zip(kept, asked, strict=True)):
        return True
    if sum(part[0] != "word" for part in kept) > 2 or len(_slots(kept)) > 1:
        return False  # "smokers among women" is not "women among smokers"
    left = list(asked)
    for part in kept:
        match = next((other for other in left if _meet(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _meet(a: Part, b: Part) -> bool:
    if a[0] != b[0]:
        return False
    if a[0] == "word":
        # Two phrases for one meaning ("how many", "number of") are the same only when all their cues are.
        return not set(a[1]).isdisjoint(b[1]) or bool(a[2] and a[2] == b[2])
    return bool(a[0] in ("number", "days") or a[1] == b[1])


def _slots(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part[0] in ("cell", "number", "days")]


_LITERAL = re.compile(r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|(?<![\w.])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")


def filled(sql: str, kept: Sequence[Part], asked: Sequence[Part]) -> str | None:
    """The SQL with the asked values in the places of the kept ones; None where a place is not found for certain."""
    pairs = [(a, b) for a, b in zip(_slots(kept), _slots(asked), strict=True) if a != b]
    if not pairs:
        return sql
    literals = [m for m in _LITERAL.finditer(sql) if not m.group().startswith('"')]
    new: dict[int, str] = {}
    for old, value in pairs:
        if sum(part == old for part in _slots(kept)) > 1:
            return None
        places = _places(old, value, [m.group() for m in literals])
        if not places or not new.keys().isdisjoint(places):
            return None
        new |= places
    for n in sorted(new, reverse=True):
        start, end = literals[n].span()
        sql = sql[:start] + new[n] + sql[end:]
    return sql


def _places(old: Part, value: Part, literals: list[str]) -> dict[int, str]:
    """Which literals say the old value, and what they have to be; {} when that is not certain."""
    if old[0] == "cell":
        return _texts(str(old[2]), str(value[2]), literals)
    if old[0] == "days":
        ends = dict(zip(old[1:], value[1:], strict=True))
        found = {n: f"'{ends[text]}'" for n, said in enumerate(literals) if (text := said.strip("'")) in ends}
        return found if len(found) == len(ends) else {}
    shown = f"{old[1]:.0f}" if old[1] == int(old[1]) else repr(old[1])
    wanted = f"{value[1]:.0f}" if value[1] == int(value[1]) else repr(value[1])
    same = [n for n, said in enumerate(literals) if said == shown]
    if len(same) == 1:
        return {same[0]: wanted}
    return _year(int(old[1]), int(value[1]), literals) if not same else {}


def _texts(old: str, value: str, literals: list[str]) -> dict[int, str]:
    """A cell's literals, also in lower case, as a search in texts has them."""
    found = {}
    for n, said in enumerate(literals):
        text = said[1:-1].replace("''", "'") if said.startswith("'") else None
        if text in (old, old.lower()):
            new = value if text == old else value.lower()
            found[n] = "'" + new.replace("'", "''") + "'"
    return found


def _year(old: int, value: int, literals: list[str]) -> dict[int, str]:
    """A year that the SQL has as the days of its two ends."""
    if not (1000 <= old <= 2999 and 1000 <= value <= 2999):
        return {}
    ends = {f"'{date(old + n, 1, 1)}'": f"'{date(value + n, 1, 1)}'" for n in (0, 1)}
    found = {n: ends[said] for n, said in enumerate(literals) if said in ends}
    return found if len(found) == 2 else {}
