"""Figures over the rows of calls: by model, task, variant, user or day, for one team.

Percentiles are exact: the value at a rank is found by the database, so that a million rows cost no memory here.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, String, cast, delete, func, or_, select

from tuneloop.db.tables import calls, feedback, scores
from tuneloop.errors import BadInput
from tuneloop.stats import wilson
from tuneloop.texts import _
from tuneloop.workspace import Workspace

DAY = 86_400.0
GROUPS = ("model", "task", "variant", "engine", "user", "day")
BATCH = 5000
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


def by(
    workspace: Workspace, group: str, *, days: float = 7.0, tenant: str = "", only: str = ""
) -> list[dict[str, Any]]:
    """One row for each value of `group`, most requests first (days: in order). only: that value alone.

    Keys: the group's name, requests, success, errors, error_kinds, cached, tokens_in, tokens_out, cost, quality,
    latency_ms {mean, p50, p95, p99}, satisfaction {up, votes, share, low, high}, share (of all requests).
    Raises BadInput for an unknown group or a span that is none.
    """
    if group not in GROUPS:
        raise BadInput(
            _("'{group}' is no group").format(group=group), fix=_("Use: {keys}.").format(keys=", ".join(GROUPS))
        )
    if not 0 < days <= 36500:
        raise BadInput(_("days must be above 0 and at most 36500"))
    key = _day() if group == "day" else calls.c[group]
    mine = [calls.c.time >= time.time() - days * DAY, calls.c.tenant == tenant, calls.c.parent == ""]
    if only:
        mine.append(key == only)
    with workspace.db.read() as rows:
        found = _counted(rows, key, mine)
        for (value, code), n in _pairs(rows, key, calls.c.code, [*mine, calls.c.code != ""]):
            found[value]["error_kinds"][code] = n
        for (value, thumb), n in _votes(rows, key, mine):
            found[value]["satisfaction"][thumb] = n
        for value, latency in _percentiles(rows, key, [*mine, calls.c.status == "ok"]).items():
            found[value]["latency_ms"] |= latency
    total = sum(row["requests"] for row in found.values()) or 1
    for value, row in found.items():
        row[group] = value
        row["share"] = row["requests"] / total
        up, votes = row["satisfaction"].pop("up", 0), sum(row["satisfaction"].values())
        votes += up
        low, high = wilson(up, votes)
        row["satisfaction"] = {
            "up": up,
            "votes": votes,
            "share": up / votes if votes else None,
            "low": low,
            "high": high,
        }
    return sorted(found.values(), key=lambda row: row["day"] if group == "day" else -row["requests"])


def get_model_stats(workspace: Workspace, model_id: str, days: float = 7.0, *, tenant: str = "") -> dict[str, Any]:
    """The figures of one model, in all and by day."""
    found = by(workspace, "model", days=days, tenant=tenant, only=model_id)
    return {"model_id": model_id, "days": days, "total": found[0] if found else None}


def get_system_stats(workspace: Workspace, *, days: float = 7.0, tenant: str = "") -> dict[str, Any]:
    """All models with their share of the requests in percent, and the sums."""
    models = by(workspace, "model", days=days, tenant=tenant)
    return {
        "days": days,
        "total_requests": sum(row["requests"] for row in models),
        "successful_requests": sum(row["success"] for row in models),
        "failed_requests": sum(row["errors"] for row in models),
        "cache_hits": sum(row["cached"] for row in models),
        "total_tokens": sum(row["tokens_in"] + row["tokens_out"] for row in models),
        "cost": sum(row["cost"] for row in models),
        "usage_percentages": {row["model"]: round(100 * row["share"], 2) for row in models},
        "models": models,
    }


def forget_old(workspace: Workspace, days: float) -> int:
    """Delete calls older than `days` with their feedback and scores, a few thousand at a time; how many went."""
    gone = 0
    while True:
        with workspace.db.write() as rows:
            old = select(calls.c.id).where(calls.c.time < time.time() - days * DAY).limit(BATCH)
            ids = [identity for (identity,) in rows.execute(old)]
            if not ids:
                return gone
            rows.execute(delete(feedback).where(feedback.c.call.in_(ids)))
            rows.execute(delete(scores).where(scores.c.call.in_(ids)))
            rows.execute(delete(calls).where(calls.c.id.in_(ids)))
            gone += len(ids)


def _counted(rows: Connection, key: ColumnElement[Any], mine: list[Any]) -> dict[str, dict[str, Any]]:
    figures = select(
        key, func.count(), func.sum(_one(calls.c.status == "ok")), func.sum(_one(calls.c.cached)),
        func.sum(calls.c.tokens_in), func.sum(calls.c.tokens_out), func.sum(calls.c.cost), func.avg(calls.c.quality),
        func.avg(calls.c.latency_ms),
    ).where(*mine).group_by(key)  # fmt: skip
    return {
        value: {
            "requests": n, "success": ok, "errors": n - ok, "error_kinds": {}, "cached": cached,
            "tokens_in": int(asked),
            "tokens_out": int(said), "cost": float(cost), "quality": None if quality is None else float(quality),
            "latency_ms": {"mean": float(mean), **dict.fromkeys(PERCENTILES)}, "satisfaction": {},
        }
        for value, n, ok, cached, asked, said, cost, quality, mean in rows.execute(figures)
    }  # fmt: skip


def _pairs(rows: Connection, key: Any, other: Any, where: list[Any]) -> list[tuple[tuple[str, str], int]]:
    found = rows.execute(select(key, other, func.count()).where(*where).group_by(key, other))
    return [((value, code), n) for value, code, n in found]


def _votes(rows: Connection, key: Any, mine: list[Any]) -> list[tuple[tuple[str, str], int]]:
    chosen = (
        select(key, feedback.c.value, func.count())
        .join_from(calls, feedback, calls.c.id == feedback.c.call)
        .where(*mine, feedback.c.kind == "thumb")
        .group_by(key, feedback.c.value)
    )
    return [((value, thumb), n) for value, thumb, n in rows.execute(chosen)]


def _percentiles(rows: Connection, key: ColumnElement[Any], where: list[Any]) -> dict[str, dict[str, float]]:
    """The nearest-rank percentiles of the latency of every group, in one pass: 500 groups took as many scans before."""
    ranked = (
        select(
            key.label("value"),
            calls.c.latency_ms,
            func.row_number().over(order_by=calls.c.latency_ms, partition_by=key).label("rank"),
            func.count().over(partition_by=key).label("n"),
        )
        .where(*where)
        .subquery()
    )
    found: dict[str, dict[str, float]] = {}
    at = {name: (ranked.c.n * percent + 99) // 100 for name, percent in PERCENTILES.items()}
    chosen = select(ranked).where(or_(*(ranked.c.rank == rank for rank in at.values())))
    for value, latency, rank, n in rows.execute(chosen):
        row = found.setdefault(value, {})
        row |= {name: float(latency) for name, percent in PERCENTILES.items() if rank == (n * percent + 99) // 100}
    return found


def _one(condition: Any) -> Any:
    from sqlalchemy import case

    return case((condition, 1), else_=0)


def _day() -> ColumnElement[Any]:
    """Days since 1970 (UTC), as text: the same on every database."""
    return cast(cast(calls.c.time, BigInteger) // 86_400, String)
