"""From rows to sums: what each arm of an experiment did, as `verdict.judge` wants it.

Units are calls; votes are capped per user before they are summed, so that one person with 250 clicks is one person.
Cached answers, shadows and replays are no units: nobody chose them by lot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sqlalchemy import func, select

from tuneloop.choose.allocation import capped
from tuneloop.choose.sequential import Sums
from tuneloop.db.tables import calls, feedback, outcomes
from tuneloop.workspace import Workspace

Data = tuple[dict[str, int], dict[str, dict[str, Sums]], dict[str, dict[str, list[float]]]]


class Observed(Protocol):
    """What is read of an experiment."""

    @property
    def id(self) -> str: ...
    @property
    def design(self) -> dict[str, Any]: ...


def measured(workspace: Workspace, experiment: Observed) -> Data:
    """(units by arm, metric -> arm -> sums, metric -> arm -> values for quantiles)."""
    mine = (calls.c.experiment == experiment.id, calls.c.parent == "", calls.c.status != "cancelled")
    ok = (*mine, calls.c.status == "ok")
    sums: dict[str, dict[str, Sums]] = {}
    with workspace.db.read() as rows:
        counted = select(calls.c.arm, func.count(func.distinct(_unit()))).where(*mine).group_by(calls.c.arm)
        units: dict[str, int] = {arm: int(n) for arm, n in rows.execute(counted)}
        for name, column, where in (
            ("response_time", calls.c.latency_ms, ok),
            ("cost", calls.c.cost, ok),
            ("tokens", calls.c.tokens_out, ok),
            ("quality_score", calls.c.quality, (*ok, calls.c.quality.is_not(None))),
        ):
            figures = (calls.c.arm, func.count(), func.sum(column), func.sum(column * column))
            figures_found = rows.execute(select(*figures).where(*where).group_by(calls.c.arm))
            sums[name] = {arm: Sums(n, float(total), float(squares)) for arm, n, total, squares in figures_found}
        by_status = select(calls.c.arm, calls.c.status, func.count()).where(*mine)
        sums["error_rate"] = _errors(rows.execute(by_status.group_by(calls.c.arm, calls.c.status)))
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
        values: dict[str, list[float]] = defaultdict(list)
        if _wants_quantile(experiment):
            for arm, milliseconds in rows.execute(select(calls.c.arm, calls.c.latency_ms).where(*ok)):
                values[arm].append(milliseconds)
    cap = int(experiment.design["cap"])
    thumbs = _by_arm((arm, user, float(value == "up")) for arm, user, value in votes)
    sums["user_satisfaction"] = {arm: summed(capped(found, cap)) for arm, found in thumbs.items()}
    for metric in {metric for metric, *_rest in reported}:
        one = _by_arm((arm, user, value) for name, arm, user, value in reported if name == metric)
        sums[metric] = {arm: summed(capped(found, cap) if _is_vote(found) else found) for arm, found in one.items()}
        for arm, pairs in one.items():
            units[arm] = max(units.get(arm, 0), len({user for user, _value in pairs}))
    return units, sums, {"response_time_p95": dict(values)}


def summed(values: Iterable[tuple[str, float]]) -> Sums:
    """(user, value) pairs as sums."""
    found = [value for _user, value in values]
    return Sums(len(found), sum(found), sum(value * value for value in found))


def _unit() -> Any:
    """The user, or the call where there is none: what the hash was taken of."""
    from sqlalchemy import case

    return case((calls.c.user != "", calls.c.user), else_=calls.c.id)


def _errors(found: Iterable[Any]) -> dict[str, Sums]:
    count: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for arm, status, n in found:
        count[arm][0] += n
        count[arm][1] += n if status in ("error", "truncated") else 0
    return {arm: Sums(n, failed, failed) for arm, (n, failed) in count.items()}


def _by_arm(rows: Iterable[tuple[str, str, float]]) -> Mapping[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for arm, user, value in rows:
        found[arm].append((user, value))
    return found


def _is_vote(values: list[tuple[str, float]]) -> bool:
    """Whether an outcome came from named people: then one of them counts a few times only."""
    return any(user for user, _value in values)


def _wants_quantile(experiment: Observed) -> bool:
    return any(metric["kind"] == "quantile" for metric in experiment.design["metrics"])
