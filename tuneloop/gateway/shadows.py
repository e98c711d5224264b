"""Shadow mode: another variant answers the same request, unseen, after the reply has left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from tuneloop.answer import attempts, checks
from tuneloop.answer.attempts import Trail
from tuneloop.errors import TuneloopError
from tuneloop.gateway import reading

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk

AT_ONCE = 16  # shadows under way; more are left out: they must never compete with people for long


def follow(desk: Desk, exchange: Any) -> None:
    """Start the shadows of running experiments for this request."""
    row = exchange.row
    for experiment, arm in desk.assigner.shadows(row.tenant, row.task, row.user or row.id):
        lane = exchange.route.lane(arm.variant)
        if lane is not None and desk.shadows < AT_ONCE:
            desk.spawn(_shadow(desk, exchange, experiment, arm.name, lane))


async def _shadow(desk: Desk, exchange: Any, experiment: str, arm: str, lane: Any) -> None:
    seen, trail = exchange.row, Trail()
    row = msgspec.structs.replace(
        seen, id=desk.new_id("shadow-"), parent=seen.id, experiment=experiment, arm=arm, reason="shadow",
        variant=lane.variant.name, engine=lane.variant.engine, model=lane.variant.model, status="error", answer="",
        tokens_in=0, tokens_out=0, first_ms=None, quality=None, cost=0.0, time=time.time(), propensity=1.0,
    )  # fmt: skip
    desk.shadows += 1
    began = time.monotonic()
    try:
        answered = await attempts.attempt(
            [lane], exchange.path, lambda chosen: exchange.body(chosen, stream=False), stream=False,
            until=began + desk.timeout, retries=0, trail=trail,
        )  # fmt: skip
        if answered.reply.status == 200:
            reading.hear(row, answered.reply.body)
            row.status, row.cost = "ok", lane.cost(row.tokens_in, row.tokens_out)
            if exchange.route.task.checks:
                row.quality, _passed = checks.score(exchange.route.task.checks, exchange.asked.text(), row.answer)
    except TuneloopError as problem:
        row.error, row.code = problem.message[:2000], attempts.code(problem)
    finally:
        desk.shadows -= 1
        row.latency_ms = round((time.monotonic() - began) * 1000, 3)
        desk.write(row)
