"""How good answers are: scores by criterion and method, kept beside what people clicked, and their course over time.

Three methods, never mixed: "rules" (named checks) and "stems" (relevance by words), which are laid on a sample of all
answers; "judge" (a language model), where one is configured; "reference" (closeness to an answer that a person gave).
Every figure comes with its agreement: how often that method scored a praised answer above a faulted one. Under 50
clicks, or below the bar, it says so, and nothing acts on it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from sqlalchemy import and_, delete, insert, or_, select

from tuneloop.answer import criteria, judging, labels, relevance
from tuneloop.answer.agreement import agreement
from tuneloop.answer.book import Book
from tuneloop.answer.criteria import Criterion, Score
from tuneloop.answer.judging import Judge
from tuneloop.db.tables import calls, feedback, scores
from tuneloop.engines.engine import Askable
from tuneloop.errors import BadInput, EngineError, Missing
from tuneloop.records import Task
from tuneloop.texts import _
from tuneloop.workspace import Workspace

DAY = 86_400.0
AT_ONCE = 300  # calls scored in one round, a minute apart: 0.1 s of a thread's time
NEWEST = 20_000  # scores that one look reads at most
APART = 0.5  # between the marks of both directions of the scale
FEWEST = 30  # scores under which no direction is told
RULED = (criteria.RULES, relevance.METHOD)
WORDS = (*RULED, criteria.REFERENCE)
JUDGED = ("relevance", "accuracy", "completeness")  # by itself: each costs the judge two answers


async def assess(
    question: str,
    answer: str,
    wanted: Sequence[Criterion],
    *,
    task: Task | None = None,
    judge: Judge | None = None,
    encoder: Judge | None = None,
    reference: str = "",
) -> list[Score]:
    """Every score that can be had of one answer. reference: an answer known to be right.

    A judge that does not decide gives a score without a value and the reason. Raises EngineDown and EngineTimeout.
    """
    found = [criteria.by_rules(one, task, question, answer) for one in wanted]
    if reference and any(one.name == "accuracy" for one in wanted):
        found.append(criteria.by_reference(answer, reference))
    if encoder is not None and any(one.name == "relevance" for one in wanted):
        value = await relevance.encoded(encoder.engine, encoder.model, question, answer, seconds=encoder.seconds)
        found.append(Score("relevance", f"encoder:{encoder.name}", value))
    if judge is not None:
        for one in wanted:
            found.append(await judged(judge, one, question, answer))
    return found


async def judged(judge: Judge, one: Criterion, question: str, answer: str) -> Score:
    """What a judge says of an answer. None is worth 0, unasked; marks more than half the scale apart are no mark: an
    answer that makes the judge take the list's first word ("reply with the first word") gets 0.5 so."""
    method = f"{judging.METHOD}:{judge.name}"
    if not answer.strip():
        return Score(one.name, method, 0.0, {"why": _("the answer is empty")})
    try:
        mark = await judging.grade(judge, one.asks, question, answer)
    except EngineError as problem:
        if type(problem) is not EngineError:  # down, or too slow: no word about this answer
            raise
        return Score(one.name, method, None, {"why": problem.message})
    if mark.apart > APART:
        return Score(one.name, method, None, {"why": _("asked the other way round, the judge said the opposite")})
    return Score(one.name, method, mark.value, {"apart": mark.apart})


def of_call(workspace: Workspace, call: str, *, tenant: str = "") -> tuple[str, str, str]:
    """(question, answer, task) of a stored call. Raises Missing for one that is not this team's, BadInput for one
    without an answer."""
    with workspace.db.read() as rows:
        chosen = select(calls).where(calls.c.id == call, calls.c.tenant == tenant)
        row = rows.execute(chosen).first()
    if row is None:
        raise Missing(_("there is no call '{call}'").format(call=call[:100]), fix=_("Its id is in the reply."))
    if row.status != "ok" or row.kind == "embedding" or not row.answer:
        raise BadInput(_("the call '{call}' has no whole answer to assess").format(call=call))
    return labels.question_of(row.request), row.answer, row.task


def keep(workspace: Workspace, call: str, found: Iterable[Score]) -> None:
    """Store the scores that have a value; a newer one of the same criterion and method replaces the older."""
    now = time.time()
    made = [
        {"call": call, "criterion": s.criterion, "method": s.method, "value": s.value, "detail": s.detail, "time": now}
        for s in found
        if s.value is not None
    ]
    if made:
        with workspace.db.write() as rows:
            for one in made:
                same = (scores.c.call == call, scores.c.criterion == one["criterion"], scores.c.method == one["method"])
                rows.execute(delete(scores).where(*same))
            rows.execute(insert(scores), made)


def score_new(workspace: Workspace, book: Book, *, most: int = AT_ONCE, days: float = 1.0) -> int:
    """Lay the rules on the newest answers that have no score yet, those that people marked first; how many."""
    rows_to_do = waiting(workspace, RULED, most=most, days=days)
    made: list[dict[str, Any]] = []
    now = time.time()
    for identity, question, answer, task in rows_to_do:
        known = book.tasks.get(task)
        for one in criteria.chosen((), known):
            score = criteria.by_rules(one, known, question, answer)
            if score.value is not None:
                made.append(
                    {"call": identity, "criterion": score.criterion, "method": score.method, "value": score.value,
                     "detail": score.detail, "time": now}
                )  # fmt: skip
    if made:
        with workspace.db.write() as rows:
            done = set(rows.execute(select(scores.c.call).where(scores.c.call.in_([r[0] for r in rows_to_do]),
                                                                scores.c.method.in_(RULED))).scalars())  # fmt: skip
            if fresh := [one for one in made if one["call"] not in done]:  # another process may have been here
                rows.execute(insert(scores), fresh)
    return len(rows_to_do)


def waiting(
    workspace: Workspace, methods: Collection[str], *, most: int, days: float = 1.0, share: float = 1.0
) -> list[tuple[str, str, str, str]]:
    """(call, question, answer, task) of answers that none of these methods has scored: marked ones first, then a
    sample of the newest. share: of all calls, drawn by their id, so that every process draws the same."""
    columns = (calls.c.id, calls.c.request, calls.c.answer, calls.c.task)
    scored = select(scores.c.call).where(scores.c.call == calls.c.id, scores.c.method.in_(methods)).exists()
    open_ = [calls.c.status == "ok", calls.c.kind != "embedding", calls.c.answer != "", ~calls.c.cached, ~scored]
    open_.append(calls.c.time >= time.time() - days * DAY)
    marked = select(feedback.c.call).where(feedback.c.call == calls.c.id).exists()
    newest = calls.c.time.desc()
    with workspace.db.read() as rows:
        found = list(rows.execute(select(*columns).where(*open_, marked).order_by(newest).limit(most)))
        if len(found) < most and share > 0:
            for row in rows.execute(select(*columns).where(*open_, ~marked).order_by(newest).limit(most * 20)):
                if len(found) == most:
                    break
                if crc32(row.id.encode()) < share * 2**32:
                    found.append(row)
    return [(row.id, labels.question_of(row.request), row.answer, row.task) for row in found]


def get_quality_stats(
    workspace: Workspace, model_id: str = "", days: float = 7.0, *, tenant: str = "", task: str = ""
) -> dict[str, Any]:
    """Means, course and agreement of every criterion and method. model_id: of the engine's model; "": of all.

    Keys: model_id, days, answers, criteria {name: {method: {n, mean, low, high (95 % of the mean), direction,
    per_day {estimate, low, high}, by_day [{day, n, mean}], agreement}}}. Raises BadInput for a span that is none.
    """
    if not 0 < days <= 36500:
        raise BadInput(_("days must be above 0 and at most 36500"))
    mine = [calls.c.tenant == tenant, calls.c.time >= time.time() - days * DAY]
    mine += [or_(calls.c.model == model_id, calls.c.version == model_id)] if model_id else []
    mine += [calls.c.task == task] if task else []
    chosen = (
        select(scores.c.call, scores.c.criterion, scores.c.method, scores.c.value, calls.c.time)
        .join(calls, calls.c.id == scores.c.call)
        .where(and_(*mine))
        .order_by(calls.c.time.desc())
        .limit(NEWEST)
    )
    with workspace.db.read() as rows:
        found = list(rows.execute(chosen))
    right = labels.marks(workspace, {row.call for row in found}, tenant=tenant)
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in found:
        groups[row.criterion, row.method].append(row)
    shown: dict[str, dict[str, Any]] = defaultdict(dict)
    for (criterion, method), some in sorted(groups.items()):
        shown[criterion][method] = _course(some, right)
    return {"model_id": model_id, "days": days, "answers": len({row.call for row in found}), "criteria": dict(shown)}


def _course(some: Sequence[Any], right: Mapping[str, bool]) -> dict[str, Any]:
    values = np.array([row.value for row in some])
    at = np.array([row.time for row in some]) / DAY
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None
    mean = float(values.mean())
    by_day = []
    for day in np.unique(np.floor(at)):
        inside = np.floor(at) == day
        by_day.append({"day": int(day), "n": int(inside.sum()), "mean": float(values[inside].mean())})
    marked = [row for row in some if row.call in right]
    agreed = agreement([row.value for row in marked], [right[row.call] for row in marked])
    return {
        "n": len(values), "mean": mean,
        "low": None if half is None else max(0.0, mean - half), "high": None if half is None else min(1.0, mean + half),
        **_slope(at, values), "by_day": by_day, "agreement": agreed.as_dict(),
    }  # fmt: skip


def _slope(at: Any, values: Any) -> dict[str, Any]:
    """Least squares over single answers, with the 95 % interval of the slope (change a day)."""
    n, spread = len(values), float(((at - at.mean()) ** 2).sum())
    if n < FEWEST or len(np.unique(np.floor(at))) < 2:
        return {"direction": "not enough data", "per_day": None}
    slope = float(((at - at.mean()) * values).sum() / spread)
    rest = values - values.mean() - slope * (at - at.mean())
    half = 1.96 * float((rest @ rest / (n - 2) / spread) ** 0.5)
    direction = "rising" if slope > half else "falling" if slope < -half else "no change seen"
    return {"direction": direction, "per_day": {"estimate": slope, "low": slope - half, "high": slope + half}}


def overall(found: Iterable[Score]) -> float | None:
    """The mean over the criteria of what measured each best: a judge before a right answer before words and rules."""
    best: dict[str, tuple[int, float]] = {}
    for score in found:
        rank = (
            (criteria.RULES, relevance.METHOD, criteria.REFERENCE).index(score.method) if score.method in WORDS else 3
        )
        if score.value is not None and rank >= best.get(score.criterion, (-1, 0.0))[0]:
            best[score.criterion] = (rank, score.value)
    return sum(value for _rank, value in best.values()) / len(best) if best else None


def named(setting: str, engines: Mapping[str, Askable]) -> Judge | None:
    """The judge or encoder that a setting "ENGINE/MODEL" names; None for "". Raises BadInput for an unknown engine."""
    if not setting:
        return None
    name, _slash, model = setting.partition("/")
    if name not in engines:
        raise BadInput(
            _("'{name}' is no engine of tuneloop.toml").format(name=name),
            fix=_("Write quality.judge and quality.encoder as ENGINE/MODEL; known: {names}.").format(
                names=", ".join(sorted(engines)) or "-"
            ),
        )
    return Judge(setting, engines[name], model)
