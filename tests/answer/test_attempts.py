"""The retry loop: how many attempts, in which order, until when, and what is not tried again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from tests.answer.stations import OK, Told, lane
from tuneloop.answer.attempts import Attempt, Trail, attempt
from tuneloop.answer.route import Lane
from tuneloop.engines.engine import Reply
from tuneloop.errors import EngineDown, EngineError, EngineTimeout, TooMany

DOWN = EngineDown("gone")
BUSY = Reply(503, {}, b"busy")


async def run(lanes: list[Lane], *, retries: int = 1, seconds: float = 5.0, trail: Trail | None = None) -> Attempt:
    trail = Trail() if trail is None else trail
    until = time.monotonic() + seconds
    return await attempt(lanes, "/x", lambda _: b"{}", stream=False, until=until, retries=retries, trail=trail)


def always(step: Reply | Exception | float) -> Told:
    return Told(lambda n: step)


@pytest.mark.parametrize("failure", [DOWN, EngineTimeout("late"), BUSY, Reply(429), Reply(500), Reply(529)])
def test_a_passing_failure_goes_on_to_the_next_lane(failure: Reply | Exception) -> None:
    first, second = always(failure), always(OK)
    trail = Trail()
    done = asyncio.run(run([lane(first, "a"), lane(second, "b")], trail=trail))
    assert (done.lane.variant.name, first.asked, second.asked, trail.attempts) == ("b", 1, 1, 2)
    assert trail.failures[0][0] == "a"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_is_wrong_with_the_request_is_not_tried_again(status: int) -> None:
    first, second = always(Reply(status)), always(OK)
    assert asyncio.run(run([lane(first), lane(second, "b")])).reply.status == status
    assert (first.asked, second.asked) == (1, 0)


@pytest.mark.parametrize("retries", [0, 1, 2, 4])
def test_never_more_attempts_than_configured(retries: int) -> None:
    engines = [always(DOWN), always(DOWN)]
    with pytest.raises(EngineDown):
        asyncio.run(run([lane(engines[0], "a"), lane(engines[1], "b")], retries=retries))
    assert sum(engine.asked for engine in engines) == retries + 1


def test_one_lane_is_tried_again_after_a_pause() -> None:
    engine = Told(lambda n: DOWN if n == 1 else OK)
    began = time.monotonic()
    assert asyncio.run(run([lane(engine)])).reply is OK
    assert 0.02 < time.monotonic() - began < 1


def test_one_deadline_for_everything() -> None:
    engines = [always(0.1) for _lane in range(3)]

    def plan(_n: int) -> Reply | Exception | float:
        return DOWN

    slow = Told(lambda n: EngineTimeout("late"))
    began = time.monotonic()
    with pytest.raises(EngineError):
        asyncio.run(run([lane(slow), lane(Told(plan), "b")], retries=100, seconds=0.4))
    assert time.monotonic() - began < 0.6
    assert engines[0].asked == 0


def test_a_spared_engine_is_passed_over_without_counting_as_an_attempt() -> None:
    first, second = lane(always(DOWN), "a"), lane(always(OK), "b")
    for _failure in range(5):
        first.station.breaker.failed(time.monotonic())
    trail = Trail()
    assert asyncio.run(run([first, second], retries=0, trail=trail)).lane is second
    assert trail.attempts == 1


def test_when_all_are_spared_it_says_so_at_once() -> None:
    only = lane(always(OK))
    for _failure in range(5):
        only.station.breaker.failed(time.monotonic())
    with pytest.raises(EngineDown, match="left alone"):
        asyncio.run(run([only]))


def test_a_full_queue_goes_on_to_the_next_lane_and_is_told_when_there_is_none() -> None:
    async def scene() -> None:
        full = lane(always(OK), "a", parallel=1, queue=0)
        await full.station.enter(1)
        assert (await run([full, lane(always(OK), "b")])).lane.variant.name == "b"
        with pytest.raises(TooMany):
            await run([full], retries=0)

    asyncio.run(scene())


def test_retry_after_of_an_engine_spares_it() -> None:
    busy = lane(always(Reply(429, {b"retry-after": b"30"})), "a")
    asyncio.run(run([busy, lane(always(OK), "b")]))
    assert not busy.station.breaker.allows(time.monotonic() + 20)
    assert busy.station.breaker.allows(time.monotonic() + 31)


@pytest.mark.parametrize("ending", ["reply", "failure", "cancel"])
def test_every_place_is_given_back(ending: str) -> None:
    async def scene() -> None:
        plans: dict[str, Callable[[int], Reply | Exception | float]] = {
            "reply": lambda n: OK, "failure": lambda n: DOWN, "cancel": lambda n: 10.0,
        }  # fmt: skip
        only = lane(Told(plans[ending]), parallel=1, queue=0)
        task = asyncio.create_task(run([only], retries=0))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert only.station.running == 0

    asyncio.run(scene())


def test_a_third_of_failures_at_one_engine_are_answered_by_the_other() -> None:
    chance = random.Random(7)
    kinds = [DOWN, EngineTimeout("late"), Reply(500), Reply(429)]
    shaky = Told(lambda n: chance.choice(kinds) if chance.random() < 0.3 else OK)

    async def scene() -> int:
        lanes = [lane(shaky, "a"), lane(always(OK), "b")]
        return sum([(await run(lanes)).reply.status == 200 for _call in range(2000)])

    assert asyncio.run(scene()) >= 1998
