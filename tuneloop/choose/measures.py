"""From rows to sums: what each arm of an experiment did, as `verdict.judge` wants it.

The unit is what the lot was drawn for: a user, a call where there is no user. What a unit has several of (response
times, errors) is summed by unit first, or people who ask much would count as many; votes are capped per user and then
one voice each, so that one person with 250 clicks is one person. Cached answers, shadows and replays are no units:
nobody chose them by lot.

The past: what the same people had before the experiment began explains part of what they have in it. `past` gives
both, and CUPED (`adjust.cuped`) takes that part out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Subquery, case, func, select

from tuneloop.choose.allocation import capped
from tuneloop.choose.sequential import Joint, Sums, voices_of
from tuneloop.db.tables import calls, feedback, outcomes
from tuneloop.workspace import Workspace

Data = tuple[dict[str, int], dict[str, dict[str, Sums | Joint]], dict[str, dict[str, list[float]]]]

# metric -> (sum of a unit's values, number of them), columns of `_by_unit`
MEANS = {
    "response_time": ("latency", "answers"),
    "cost": ("cost", "answers"),
    "tokens": ("tokens", "answers"),
    "quality_score": ("quality", "scored"),
}
BEFORE = 30 * 86_400.0  # seconds: how far back a unit's past is looked at
# Units of every arm that must have a past before it is used. The verdict is asymptotic from 100 units an arm on, and
# the adjustment is so from its first.
WITH_PAST = 100


class Observed(Protocol):
    """What is read of an experiment."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def created(self) -> float: ...
    @property
    def design(self) -> dict[str, Any]: ...


def measured(workspace: Workspace, experiment: Observed) -> Data:
    """(units by arm, metric -> arm -> sums, metric -> arm -> values for quantiles, one of each unit)."""
    mine = _of(experiment)
    ratios = MEANS | {"error_rate": ("errors", "calls")}
    with workspace.db.read() as rows:
        units, sums = _summed(rows.execute(_by_arm(_by_unit(mine), ratios)), ratios)
        votes = rows.execute(
            select(calls.c.arm, feedback.c.user, feedback.c.value)
            .join(calls, calls.c.id == feedback.c.call)
            .where(*mine, feedback.c.kind == "thumb")
            .order_by(feedback.c.time)
        ).all()
        reported = rows.execute(
            select(outcomes.c.metric, outcomes.c.arm, outcomes.c.user, outcomes.c.value)
            .where(outcomes.c.experiment == experiment.id)
            .order_by(outcomes.c.id)
        ).all()
        values = _first_times(rows, mine) if _wants_quantile(experiment) else {}
    cap = int(experiment.design["cap"])
    thumbs = _listed((arm, user, float(value == "up")) for arm, user, value in votes)
    sums["user_satisfaction"] = {arm: voices_of(capped(found, cap)) for arm, found in thumbs.items()}
    for metric in {metric for metric, *_rest in reported}:
        one = _listed((arm, user, value) for name, arm, user, value in reported if name == metric)
        # Nameless outcomes are the application's own counts: each is a unit.
        sums[metric] = {arm: voices_of(capped(v, cap) if _has_users(v) else v) for arm, v in one.items()}
        for arm, pairs in one.items():
            units[arm] = max(units.get(arm, 0), len({user for user, _value in pairs}))
    return units, sums, {"response_time_p95": values}


def past(workspace: Workspace, experiment: Observed) -> dict[str, dict[str, Joint]]:
    """metric -> arm -> Joint of each unit's own mean now (y) and in the 30 days before the experiment (x), for CUPED.

    A unit without a past has the mean of the others' as its x: it says nothing and changes nothing. A metric is left
    out while an arm has fewer than WITH_PAST units with a past. Bandits have none: their arms' units are of other days.
    """
    asked = [metric["name"] for metric in experiment.design["metrics"] if metric["name"] in MEANS]
    if experiment.design["mode"] == "bandit" or not asked:
        return {}
    unit, before = _by_unit(_of(experiment)), _before(experiment)
    shown: list[ColumnElement[Any]] = [unit.c.arm]
    for metric in asked:
        total, number = MEANS[metric]
        now = unit.c[total] * 1.0 / func.nullif(unit.c[number], 0)
        then = case((now.is_not(None), before.c[metric]))
        shown += [func.count(now), func.sum(now), func.sum(now * now), func.count(then), func.sum(then),
                  func.sum(then * then), func.sum(now * then), func.sum(case((then.is_(None), now)))]  # fmt: skip
    joined = unit.outerjoin(before, unit.c.unit == before.c.user)
    with workspace.db.read() as rows:
        found = rows.execute(select(*shown).select_from(joined).group_by(unit.c.arm)).all()
    arms = {arm["name"] for arm in experiment.design["arms"]}
    made = {}
    for place, metric in enumerate(asked):
        figures = {arm: [float(f or 0) for f in rest[8 * place : 8 * place + 8]] for arm, *rest in found}
        if set(figures) >= arms and all(figures[arm][3] >= WITH_PAST for arm in arms):
            made[metric] = _with_past(figures)
    return made


def _with_past(figures: Mapping[str, list[float]]) -> dict[str, Joint]:
    """figures by arm: n, sum and squares of y; the same of x where it is known; products there; y where it is not."""
    mean = sum(f[4] for f in figures.values()) / sum(f[3] for f in figures.values())
    return {
        arm: Joint(
            Sums(int(n), y, yy),
            Sums(int(n), x + mean * (n - known), xx + mean**2 * (n - known)),
            products + mean * y_alone,
        )
        for arm, (n, y, yy, known, x, xx, products, y_alone) in figures.items()
    }


def _of(experiment: Observed) -> tuple[ColumnElement[bool], ...]:
    return calls.c.experiment == experiment.id, calls.c.parent == "", calls.c.status != "cancelled"


def _by_unit(mine: tuple[ColumnElement[bool], ...]) -> Subquery:
    """One row of each unit: its sums, and of how many values."""
    ok, scored = calls.c.status == "ok", (calls.c.status == "ok") & calls.c.quality.is_not(None)
    unit = _unit()

    def total(condition: ColumnElement[bool], value: Any = 1) -> Any:
        return func.sum(case((condition, value), else_=0))

    columns = {
        "calls": func.count(), "errors": total(calls.c.status.in_(("error", "truncated"))), "answers": total(ok),
        "latency": total(ok, calls.c.latency_ms), "cost": total(ok, calls.c.cost),
        "tokens": total(ok, calls.c.tokens_out), "scored": total(scored), "quality": total(scored, calls.c.quality),
    }  # fmt: skip
    named = [column.label(name) for name, column in columns.items()]
    return select(calls.c.arm, unit.label("unit"), *named).where(*mine).group_by(calls.c.arm, unit).subquery()


def _by_arm(unit: Subquery, ratios: Mapping[str, tuple[str, str]]) -> Any:
    """The sums of units' sums: what `Joint` is made of, after the arm and the number of its units."""
    shown: list[Any] = [unit.c.arm, func.count()]
    for total, number in ratios.values():
        y, x = unit.c[total] * 1.0, unit.c[number] * 1.0
        shown += [func.sum(case((x > 0, 1), else_=0)), func.sum(y), func.sum(y * y), func.sum(x), func.sum(x * x),
                  func.sum(y * x)]  # fmt: skip
    return select(*shown).group_by(unit.c.arm)


def _summed(
    found: Iterable[Any], ratios: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, int], dict[str, dict[str, Sums | Joint]]]:
    units: dict[str, int] = {}
    sums: dict[str, dict[str, Sums | Joint]] = {metric: {} for metric in ratios}
    for arm, n_units, *rest in found:
        units[arm] = int(n_units)
        for place, metric in enumerate(ratios):
            n, y, yy, x, xx, yx = rest[6 * place : 6 * place + 6]
            if n:
                joint = Joint(Sums(int(n), float(y), float(yy)), Sums(int(n), float(x), float(xx)), float(yx))
                # Where every unit has one value they are plain values, for which exact methods exist.
                sums[metric][arm] = joint.y if joint.x.total == n else joint
    return units, sums


def _before(experiment: Observed) -> Subquery:
    """By user: the means of their calls of the same task in the time before."""
    means = {
        "response_time": func.avg(calls.c.latency_ms), "cost": func.avg(calls.c.cost),
        "tokens": func.avg(calls.c.tokens_out * 1.0), "quality_score": func.avg(calls.c.quality),
    }  # fmt: skip
    theirs = (
        calls.c.tenant == experiment.tenant, calls.c.task == experiment.task, calls.c.user != "",
        calls.c.time >= experiment.created - BEFORE, calls.c.time < experiment.created, calls.c.parent == "",
        calls.c.status == "ok", calls.c.cached.is_(False),
    )  # fmt: skip
    named = [mean.label(metric) for metric, mean in means.items()]
    return select(calls.c.user, *named).where(*theirs).group_by(calls.c.user).subquery()


def _first_times(rows: Any, mine: tuple[ColumnElement[bool], ...]) -> dict[str, list[float]]:
    """The time of each unit's first answer: one value of each, as ranks need it."""
    chosen = select(calls.c.arm, _unit(), calls.c.latency_ms).where(*mine, calls.c.status == "ok")
    first: dict[str, dict[str, float]] = defaultdict(dict)
    for arm, unit, milliseconds in rows.execute(chosen.order_by(calls.c.time, calls.c.id)):
        first[arm].setdefault(unit, milliseconds)
    return {arm: list(found.values()) for arm, found in first.items()}


def _unit() -> ColumnElement[str]:
    """The user, or the call where there is none: what the hash was taken of."""
    return case((calls.c.user != "", calls.c.user), else_=calls.c.id)


def _listed(rows: Iterable[tuple[str, str, float]]) -> Mapping[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for arm, user, value in rows:
        found[arm].append((user, value))
    return found


def _has_users(values: list[tuple[str, float]]) -> bool:
    """Whether an outcome came from named people: then one of them counts a few times only."""
    return any(user for user, _value in values)


def _wants_quantile(experiment: Observed) -> bool:
    return any(metric["kind"] == "quantile" for metric in experiment.design["metrics"])
