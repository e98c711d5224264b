"""Engines that do as they are told, and the stations and lanes around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tuneloop.answer.route import Lane
from tuneloop.answer.station import Station
from tuneloop.engines.engine import Limits, Reply
from tuneloop.records import EngineSpec, Variant

OK = Reply(200, {}, b"{}")


class Told:
    """`plan` gives for the n-th request a Reply, an exception to raise, or seconds to wait before an OK."""

    def __init__(self, plan: Callable[[int], Reply | Exception | float]) -> None:
        self.plan = plan
        self.asked = 0

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        self.asked += 1
        step = self.plan(self.asked)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            await asyncio.sleep(step)
            return OK
        return step

    async def models(self) -> list[dict[str, Any]]:
        return []

    async def alive(self) -> bool:
        return True

    async def close(self) -> None:
        return


def lane(engine: Told, name: str = "a", **spec: Any) -> Lane:
    return Lane.of(Variant(name, name, "m"), Station(EngineSpec(name, **spec), engine))
