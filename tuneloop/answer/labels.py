"""What people said of answers, as labels: right or wrong, one for each call.

Everything that learns from clicks (the learned score, the quality switch, the predictor, the figures of agreement)
takes them from here, so that all of them mean the same: a thumb up or a score of 7 and more is right, a thumb down or
a lower score is wrong, the last mark of a person counts, and where several people marked one answer the majority does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, false, func, or_, select

from tuneloop.answer.tasks import last_user_text
from tuneloop.db.tables import calls, feedback
from tuneloop.records import Task
from tuneloop.workspace import Workspace

RIGHT = 7.0  # a score of 0 to 10 from which on an answer is called right
MOST = 2000  # labels of one calibration, the newest: more change a bound by under a point and cost seconds to read
HEAVIEST = 20.0  # a label's inverse propensity is cut here: a variant taken once in a thousand must not decide alone
BATCH = 500  # ids in one query


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of the clicks on one call. people: (tenant, user) of everyone who marked it."""

    call: str
    right: bool
    people: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Label:
    """An answer that people marked. weight: how many requests of all it stands for (inverse propensity, bounded)."""

    call: str
    question: str
    answer: str
    right: bool
    weight: float = 1.0
    quality: float | None = None  # as it was scored when it was given
    variant: str = ""
    time: float = 0.0  # of the call, Unix seconds


@dataclass(frozen=True, slots=True)
class Gathered:
    """labels: newest first. people: who gave them. most: the share of the labels that one person gave."""

    labels: tuple[Label, ...]
    people: int = 0
    most: float = 0.0


def verdict(kind: str, value: str) -> bool | None:
    """Whether a piece of feedback calls the answer right; None for what is no mark (a comment, a demonstration)."""
    if kind == "thumb":
        return value == "up"
    return float(value) >= RIGHT if kind == "score" else None


def of_task(
    workspace: Workspace, task: Task, *, without: str = "", only: str = "", per_person: int | None = None
) -> Gathered:
    """The newest labels of a task's answers, of all teams: a task is the installation's.

    without, only: a variant that is left out, or the only one looked at. Labels of a model or version that a variant
    no longer asks are left out: what held of the last version is not known of this one.
    per_person: most labels of one named person (default: the setting quality.labels_per_person; 0: no limit).
    """
    most = workspace.settings.integer("quality.labels_per_person") if per_person is None else per_person
    names = [v.name for v in task.variants if v.name != without and only in ("", v.name)]
    with workspace.db.read() as rows:
        where = [calls.c.task == task.name, _of_today(rows, task, names)]
        marks = _limited(_marks(rows, where), most)[:MOST]
        return Gathered(tuple(_labels(rows, marks)), *_concentration(marks))


def stamp(workspace: Workspace, task: str) -> tuple[int, float]:
    """What changes when a task's answers are marked: how many pieces of feedback there are, and the last one's time."""
    chosen = select(func.count(), func.max(feedback.c.time)).join(calls, calls.c.id == feedback.c.call)
    with workspace.db.read() as rows:
        n, last = rows.execute(chosen.where(calls.c.task == task)).one()
    return int(n), float(last or 0.0)


def marks(
    workspace: Workspace, identities: Collection[str] | None = None, *, tenant: str | None = None
) -> dict[str, bool]:
    """Call -> right. identities: only these calls. tenant: only of this team; None: of all."""
    where = [] if tenant is None else [calls.c.tenant == tenant]
    found: dict[str, bool] = {}
    with workspace.db.read() as rows:
        if identities is None:
            return {mark.call: mark.right for mark in _marks(rows, where)}
        for some in _batches(identities):
            found |= {mark.call: mark.right for mark in _marks(rows, [*where, calls.c.id.in_(some)])}
    return found


def question_of(request: Mapping[str, Any]) -> str:
    """What a stored request asked: its last user message, or its prompt."""
    if "prompt" in request:
        prompt = request["prompt"]
        return prompt if isinstance(prompt, str) else str(prompt[-1]) if isinstance(prompt, list) and prompt else ""
    messages = request.get("messages")
    return last_user_text([m for m in messages if isinstance(m, dict)]) if isinstance(messages, list) else ""


def _of_today(rows: Connection, task: Task, names: Sequence[str]) -> Any:
    """Rows whose variant asked the model and version that it asked last."""
    fitting: list[Any] = [false()]
    for variant in task.variants:
        if variant.name not in names:
            continue
        mine = [calls.c.task == task.name, calls.c.variant == variant.name, calls.c.status == "ok"]
        chosen = select(calls.c.model, calls.c.version).where(*mine, ~calls.c.cached).order_by(calls.c.time.desc())
        if (last := rows.execute(chosen.limit(1)).first()) is not None:
            same = (calls.c.variant == variant.name, calls.c.model == last.model, calls.c.version == last.version)
            fitting.append(and_(*same))
    return or_(*fitting)


def _marks(rows: Connection, where: Sequence[Any]) -> list[Mark]:
    """Newest call first. An answer on which as many said right as wrong is none."""
    chosen = (
        select(calls.c.id, feedback.c.tenant, feedback.c.user, feedback.c.kind, feedback.c.value)
        .join(feedback, calls.c.id == feedback.c.call)
        .where(*where, calls.c.status == "ok", calls.c.kind != "embedding", feedback.c.kind.in_(("thumb", "score")))
        .order_by(calls.c.time.desc(), calls.c.id, feedback.c.time, feedback.c.id)
    )
    last: dict[str, dict[tuple[str, str], bool]] = {}
    for call, tenant, user, kind, value in rows.execute(chosen):
        said = verdict(kind, value)
        if said is not None:
            last.setdefault(call, {})[tenant, user] = said
    found = []
    for call, said_by in last.items():
        right, n = sum(said_by.values()), len(said_by)
        if right * 2 != n:
            found.append(Mark(call, right * 2 > n, tuple(said_by)))
    return found


def _limited(found: Iterable[Mark], most: int) -> list[Mark]:
    """Without what one named person said beyond the newest `most`: nobody alone decides what a team calls right.

    Marks without a user's name are not limited: the application, not its visitor, decides whether to send names.
    """
    given: Counter[tuple[str, str]] = Counter()
    kept = []
    for mark in found:
        free = [p for p in mark.people if not p[1] or not most or given[p] < most]
        given.update(mark.people)
        if free:
            kept.append(mark)
    return kept


def _concentration(found: Sequence[Mark]) -> tuple[int, float]:
    given = Counter(person for mark in found for person in mark.people)
    return len(given), max(given.values(), default=0) / max(len(found), 1)


def _labels(rows: Connection, found: Sequence[Mark]) -> list[Label]:
    columns = (
        calls.c.id, calls.c.request, calls.c.answer, calls.c.propensity, calls.c.quality, calls.c.variant, calls.c.time,
    )  # fmt: skip
    texts: dict[str, Any] = {}
    for some in _batches([mark.call for mark in found]):
        texts |= {row.id: row for row in rows.execute(select(*columns).where(calls.c.id.in_(some)))}
    made = []
    for mark in found:
        row = texts[mark.call]
        weight = min(HEAVIEST, 1 / row.propensity) if 0 < row.propensity <= 1 else 1.0
        question = question_of(row.request)
        made.append(Label(mark.call, question, row.answer, mark.right, weight, row.quality, row.variant, row.time))
    return made


def _batches(identities: Collection[str]) -> Iterable[list[str]]:
    listed = list(identities)
    return (listed[start : start + BATCH] for start in range(0, len(listed), BATCH))
