"""Places at an engine, and the breaker that spares it."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answer.stations import Told
from tuneloop.answer.station import FIRST_PAUSE, IN_A_ROW, LONGEST_PAUSE, Breaker, Station
from tuneloop.errors import EngineTimeout, TooMany
from tuneloop.records import EngineSpec


def station(parallel: int = 2, queue: int = 2) -> Station:
    return Station(EngineSpec("x", parallel=parallel, queue=queue), Told(lambda n: 0.0))


def test_places_then_queue_then_refusal_at_once() -> None:
    async def scene() -> None:
        at = station()
        for _place in range(2):
            await at.enter(1)
        waiting = [asyncio.create_task(at.enter(5)) for _place in range(2)]
        await asyncio.sleep(0)
        began = time.monotonic()
        with pytest.raises(TooMany) as refused:
            await at.enter(5)
        assert time.monotonic() - began < 0.05
        assert refused.value.retry_after >= 1
        assert (at.running, at.waiting, at.refused) == (2, 2, 1)
        at.leave()
        await waiting[0]
        at.leave()
        await waiting[1]
        at.leave()
        at.leave()
        assert (at.running, at.waiting) == (0, 0)

    asyncio.run(scene())


def test_first_come_first_served() -> None:
    async def scene() -> None:
        at, order = station(1, 10), []

        async def one(number: int) -> None:
            await at.enter(5)
            order.append(number)
            await asyncio.sleep(0)
            at.leave()

        await asyncio.gather(*(one(n) for n in range(8)))
        assert order == list(range(8))
        assert at.running == 0

    asyncio.run(scene())


def test_waiting_ends_with_the_deadline() -> None:
    async def scene() -> None:
        at = station(1, 1)
        await at.enter(1)
        with pytest.raises(EngineTimeout):
            await at.enter(0.05)
        assert at.waiting == 0

    asyncio.run(scene())


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40))
def test_no_place_is_lost_or_made_whoever_gives_up(steps: list[tuple[int, bool]]) -> None:
    async def scene() -> None:
        at = station(2, 5)
        tasks: dict[int, asyncio.Task[None]] = {}
        for number, leaves in steps:
            task = tasks.pop(number, None)
            if task is None:
                tasks[number] = asyncio.create_task(at.enter(5))
            elif leaves and task.done() and not task.exception():
                at.leave()
            elif not task.done():
                task.cancel()
            elif not task.exception():
                tasks[number] = task
            await asyncio.sleep(0)
        for task in tasks.values():
            done = task.done() and not task.exception()
            task.cancel()
            if done:
                at.leave()
        for _turn in range(20):
            await asyncio.sleep(0)
            if at.waiting == 0 and at.running:
                break
        assert at.waiting == 0
        assert at.running >= 0

    asyncio.run(scene())


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_probe_through() -> None:
    breaker, now = Breaker(), 100.0
    for _failure in range(IN_A_ROW - 1):
        breaker.failed(now)
        assert breaker.allows(now)
    breaker.failed(now)
    assert not breaker.allows(now + FIRST_PAUSE / 2)
    assert breaker.allows(now + FIRST_PAUSE)
    assert not breaker.allows(now + FIRST_PAUSE)  # one probe at a time
    breaker.succeeded()
    assert breaker.allows(now + FIRST_PAUSE) and breaker.state == "closed"


def test_the_pause_doubles_and_has_an_end() -> None:
    breaker, now, pauses = Breaker(), 0.0, []
    for _failure in range(IN_A_ROW):
        breaker.failed(now)
    for _probe in range(10):
        pauses.append(breaker.closed_at - now)
        now = breaker.closed_at
        assert breaker.allows(now)
        breaker.failed(now)
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == LONGEST_PAUSE


def test_an_abandoned_probe_gives_its_turn_back() -> None:
    breaker = Breaker()
    for _failure in range(IN_A_ROW):
        breaker.failed(0.0)
    assert breaker.allows(5.0)
    breaker.abandoned()
    assert breaker.allows(5.0)


def test_half_of_twenty_is_too_many_and_a_third_is_not() -> None:
    for every, opens in ((2, True), (3, False)):
        breaker = Breaker()
        for number in range(1, 61):
            if breaker.allows(0.0):
                breaker.succeeded() if number % every else breaker.failed(0.0)
        assert (breaker.opened > 0) is opens


def test_retry_after_is_obeyed_at_once_within_reason() -> None:
    breaker = Breaker()
    breaker.failed(10.0, retry_after=7.0)
    assert not breaker.allows(16.9)
    assert breaker.allows(17.1)
    breaker.failed(20.0, retry_after=10_000)
    assert breaker.closed_at == 20.0 + LONGEST_PAUSE
