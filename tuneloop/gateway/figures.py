"""Routes for figures: by model, task, variant, engine, user or day, and the server's health over time."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from tuneloop.access.caller import Caller
from tuneloop.answer import health, statistics
from tuneloop.gateway.answers import answers
from tuneloop.gateway.guard import needs

router = APIRouter(tags=["figures"])
Reader = Annotated[Caller, needs("reader")]
Days = Annotated[float, Query(gt=0, le=3650, allow_inf_nan=False)]


@router.get("/stats", responses=answers(422))
def system_stats(request: Request, caller: Reader, days: Days = 7.0) -> dict[str, Any]:
    """Sums, and every model with its share of the requests."""
    return statistics.get_system_stats(request.app.state.desk.workspace, days=days, tenant=caller.tenant)


@router.get("/stats/by/{group}", responses=answers(422))
def grouped_stats(request: Request, caller: Reader, group: str, days: Days = 7.0) -> dict[str, Any]:
    """By model, task, variant, engine, user or day."""
    return {"data": statistics.by(request.app.state.desk.workspace, group, days=days, tenant=caller.tenant)}


@router.get("/stats/models/{model:path}", responses=answers(404, 422))
def model_stats(request: Request, caller: Reader, model: str, days: Days = 7.0) -> dict[str, Any]:
    """One model; null when nothing was asked of it."""
    return statistics.get_model_stats(request.app.state.desk.workspace, model, days, tenant=caller.tenant)


@router.get("/health/history", responses=answers(422), dependencies=[needs("reader")])
def health_history(
    request: Request, hours: Annotated[float, Query(gt=0, le=720, allow_inf_nan=False)] = 24.0
) -> dict[str, Any]:
    """A sample a minute, kept for thirty days."""
    return {"data": health.get_system_health_history(request.app.state.desk.workspace, hours)}
