"""The only retry loop of the product: which variants a request is tried on, in which order, until when.

Everything shares one deadline: it is never "retries times timeout". An attempt that fails goes on to the next variant
(where the task allows it), and after the last one round again, with a pause that grows. An engine's `Retry-After` is
obeyed by its breaker. What the engine says is wrong with the request itself (400, 404, 422 ...) is not tried again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tuneloop.answer.route import Lane
from tuneloop.engines.engine import Limits, Reply
from tuneloop.errors import EngineDown, EngineError, EngineTimeout, TooMany
from tuneloop.texts import _

# Statuses after which another attempt may succeed; 529 is what overloaded APIs of today send.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
PAUSE = 0.05  # seconds before the second round; doubles with each further one


@dataclass(slots=True)
class Trail:
    """What happened on the way: how many attempts, and what became of those that failed."""

    attempts: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)  # (variant, code)


class Attempt:
    """A reply under way. `end` must be called once: it frees the place and tells the breaker."""

    __slots__ = ("_began", "_ended", "lane", "reply")

    def __init__(self, lane: Lane, reply: Reply, began: float) -> None:
        self.lane = lane
        self.reply = reply
        self._began = began
        self._ended = False

    def end(self, good: bool | None = True) -> None:
        """good: False when the engine failed in the middle of a stream; None when its client left."""
        if self._ended:
            return
        self._ended = True
        station, now = self.lane.station, time.monotonic()
        station.leave(now - self._began if good else 0.0)
        if good:
            station.breaker.succeeded()
        elif good is None:
            station.breaker.abandoned()
        else:
            station.breaker.failed(now)


async def attempt(
    lanes: Sequence[Lane],
    path: str,
    body_for: Callable[[Lane], bytes],
    *,
    stream: bool,
    until: float,
    retries: int,
    trail: Trail,
) -> Attempt:
    """The first reply that is not a passing failure.

    until: the request's deadline (monotonic seconds). retries: attempts after the first, over all lanes.
    Raises TooMany when every engine's queue is full, EngineDown, EngineTimeout or EngineError with what the last
    attempt met. `body_for` may raise what it likes: that is the request's fault and ends the loop.
    """
    problem: EngineError | TooMany | None = None
    pause = PAUSE
    while True:
        tried = False
        for lane in lanes:
            if trail.attempts > retries:
                break
            if not lane.station.breaker.allows(time.monotonic()):
                problem = problem or _spared(lane)
                continue
            tried = True
            trail.attempts += 1
            try:
                return await _try(lane, path, body_for(lane), stream=stream, until=until)
            except (EngineError, TooMany) as failure:
                trail.failures.append((lane.variant.name, code(failure)))
                problem = failure
            if time.monotonic() >= until:
                break
        # A full queue is told at once: a client that waits here for a place would stand in a second queue.
        over = isinstance(problem, TooMany) or not tried or trail.attempts > retries
        if over or time.monotonic() + pause >= until:
            assert problem is not None
            raise problem
        await asyncio.sleep(pause * (0.5 + random.random()))  # so that many clients do not come back together
        pause *= 2


def code(problem: Exception) -> str:
    """The kind of a failure, as rows and metrics name it."""
    kinds = ((TooMany, "overloaded"), (EngineTimeout, "timeout"), (EngineDown, "engine_down"))
    return next((name for kind, name in kinds if isinstance(problem, kind)), "engine_error")


async def _try(lane: Lane, path: str, body: bytes, *, stream: bool, until: float) -> Attempt:
    station, spec = lane.station, lane.station.spec
    try:
        await station.enter(until - time.monotonic())
    except BaseException:
        station.breaker.abandoned()
        raise
    began = time.monotonic()
    limits = Limits(spec.first, spec.gap, min(spec.total, until - began))
    try:
        reply = await station.engine.ask(path, body, stream=stream, limits=limits)
    except EngineError:
        station.leave()
        station.breaker.failed(time.monotonic())
        raise
    except BaseException:  # the client has left, or a bug: it says nothing about the engine
        station.leave()
        station.breaker.abandoned()
        raise
    if reply.status in PASSING:
        station.leave()
        station.breaker.failed(time.monotonic(), _seconds(reply.headers.get(b"retry-after", b"")))
        said = _("'{name}' answered with status {status}: {said}")
        text = reply.body[:300].decode("utf-8", "replace")
        raise EngineError(said.format(name=spec.name, status=reply.status, said=text))
    answered = Attempt(lane, reply, began)
    if reply.pieces is None:
        answered.end()
    return answered


def _spared(lane: Lane) -> EngineDown:
    name = lane.station.spec.name
    return EngineDown(_("'{name}' failed repeatedly and is left alone for a moment").format(name=name))


def _seconds(value: bytes) -> float:
    """Retry-After in seconds; dates are rare in these APIs and count as none."""
    return float(value) if value.isdigit() and len(value) < 6 else 0.0
