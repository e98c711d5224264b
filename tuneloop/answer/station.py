"""An engine at work: how many requests it has, who waits, whether it is to be spared, how fast it is.

Circuit breaker: five failures in a row, or half of the last twenty, and the engine is left alone; after a pause that
doubles from 1 s to 60 s one request may try it (the probe), and its answer decides. A `Retry-After` is obeyed as a
pause of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from tuneloop.engines.engine import Engine, Limits, Reply
from tuneloop.errors import EngineDown, EngineError, EngineTimeout, TooMany
from tuneloop.records import EngineSpec
from tuneloop.texts import _

IN_A_ROW = 5
WINDOW = 20
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Breaker:
    """Closed (asks go through), open (none do), half open (one does)."""

    def __init__(self) -> None:
        self.closed_at: float = 0.0  # asks go through again from this moment (monotonic seconds)
        self.opened = 0  # how often, for people
        self._pause = FIRST_PAUSE
        self._row = 0
        self._last: deque[bool] = deque(maxlen=WINDOW)
        self._probing = False

    def allows(self, now: float) -> bool:
        """Whether an ask may go now; in the half-open state the first one asked may and the others may not."""
        if self.closed_at == 0.0:
            return True
        if now < self.closed_at or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        self._row = 0
        if self.closed_at:
            self.closed_at, self._pause = 0.0, FIRST_PAUSE
            self._last.clear()
        self._probing = False
        self._last.append(True)

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """retry_after: seconds the engine asked for."""
        self._row += 1
        self._last.append(False)
        full = len(self._last) == WINDOW and self._last.count(False) * 2 >= WINDOW
        if self._probing or self._row >= IN_A_ROW or full:
            self.closed_at = now + max(self._pause, min(retry_after, LONGEST_PAUSE))
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self.opened += not self._probing
            self._row = 0
            self._last.clear()
        elif retry_after:
            self.closed_at = now + min(retry_after, LONGEST_PAUSE)
        self._probing = False

    def abandoned(self) -> None:
        """The ask ended without telling anything of the engine (its client left): a probe may be sent again."""
        self._probing = False

    @property
    def state(self) -> str:
        if self.closed_at == 0.0:
            return "closed"
        return "open" if time.monotonic() < self.closed_at else "half open"


class Station:
    """One engine, its places and its breaker."""

    def __init__(self, spec: EngineSpec, engine: Engine) -> None:
        self.spec = spec
        self.engine = engine
        self.breaker = Breaker()
        self.running = 0
        self.refused = 0
        self.seconds = 0.0  # a typical call, moving average
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    @property
    def retry_after(self) -> float:
        """Seconds until the queue has probably moved on, 1 to 60."""
        return max(1.0, min(60.0, self.seconds * (self.waiting + 1) / self.spec.parallel))

    @property
    def status(self) -> dict[str, object]:
        """For /health."""
        return {
            "kind": self.spec.kind,
            "breaker": self.breaker.state,
            "running": self.running,
            "waiting": self.waiting,
            "places": self.spec.parallel,
            "typical_seconds": round(self.seconds, 3),
        }

    async def enter(self, seconds: float) -> None:
        """Take a place; give it back with `leave`.

        Raises TooMany at once when as many wait as may, EngineTimeout when none is free within `seconds`.
        """
        if self.running < self.spec.parallel and not self._waiters:
            self.running += 1
            return
        if len(self._waiters) >= self.spec.queue:
            self.refused += 1
            raise TooMany(
                _("too many requests are waiting for '{name}'").format(name=self.spec.name),
                retry_after=self.retry_after,
            )
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except BaseException as problem:
            if waiter.done() and not waiter.cancelled():  # the place came and nobody is there to use it
                self.leave()
            else:
                self._waiters.remove(waiter)
            if isinstance(problem, TimeoutError):
                raise EngineTimeout(_("no place at '{name}' became free in time").format(name=self.spec.name)) from None
            raise

    async def ask(self, path: str, body: bytes, *, stream: bool, limits: Limits) -> Reply:
        """A whole reply for work of our own (a judge, an encoder): in a place like everybody's, behind the breaker.

        Raises as the engine does, TooMany for a full queue, EngineDown while the engine is spared.
        """
        if not self.breaker.allows(time.monotonic()):
            raise EngineDown(_("'{name}' failed repeatedly and is left alone for a moment").format(name=self.spec.name))
        try:
            await self.enter(limits.total)
        except BaseException:
            self.breaker.abandoned()
            raise
        began = time.monotonic()
        try:
            reply = await self.engine.ask(path, body, stream=stream, limits=limits)
        except EngineError:
            self.breaker.failed(time.monotonic())
            raise
        except BaseException:
            self.breaker.abandoned()
            raise
        finally:
            self.leave(time.monotonic() - began)
        if reply.status >= 500:
            self.breaker.failed(time.monotonic())
        else:
            self.breaker.succeeded()
        return reply

    def leave(self, seconds: float = 0.0) -> None:
        """Give the place to who waits longest. seconds: how long the call took; 0 is not counted."""
        if seconds:
            self.seconds += (seconds - self.seconds) * (0.1 if self.seconds else 1.0)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.running -= 1
