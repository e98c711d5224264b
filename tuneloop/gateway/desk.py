"""What all requests share: the places, the queue, the client to the model, the writer of rows, the closing bell."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx

from tuneloop.answer import calls
from tuneloop.answer.serving import Serving
from tuneloop.errors import TuneloopError
from tuneloop.gateway.failures import Failure
from tuneloop.records import Call
from tuneloop.texts import _
from tuneloop.workspace import Workspace

log = logging.getLogger("tuneloop.gateway")


class Desk:
    """One per running app. Counters are read by /health."""

    def __init__(self, workspace: Workspace, serving: Serving) -> None:
        settings = workspace.settings
        self.workspace = workspace
        self.serving = serving
        self.context = settings.integer("serve.context")
        self.parallel = settings.integer("serve.parallel")
        self.queue = settings.integer("serve.queue")
        self.timeout = settings.number("serve.timeout")
        self.running = 0
        self.waiting = 0
        self.refused = 0
        self.unrecorded = 0
        self.started = time.time()
        self.closing = asyncio.Event()  # rings when the time of grace is over
        self._places = asyncio.Semaphore(self.parallel)
        self._typical = 1.0  # seconds of a call, moving average
        # SQLite has one writer; a second thread lets one wait for the lock while the other commits.
        self._writer = ThreadPoolExecutor(2, thread_name_prefix="rows")
        # No connection is kept: llama.cpp closes idle ones after 5 s, and a request that meets such a closing
        # fails. A fresh local connection takes 0.2 ms. Time is limited by each request's deadline.
        self.client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=5.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place at the model. Raises Failure 503 at once when the queue is full."""
        if self._places.locked() and self.waiting >= self.queue:
            self.refused += 1
            raise Failure(503, "overloaded", _("too many requests are waiting"), retry_after=self.retry_after)
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.running -= 1
            self._typical += 0.1 * (time.monotonic() - began - self._typical)
            self._places.release()

    @property
    def retry_after(self) -> int:
        """Seconds until the queue has probably moved on, 1 to 60."""
        return max(1, min(60, math.ceil(self._typical * (self.waiting + 1) / self.parallel)))

    async def record(self, call: Call) -> None:
        """Write the row of a call. An answer is not withheld because the disk is full: it is counted instead."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, calls.write, self.workspace, call)
        except (TuneloopError, OSError) as problem:
            self.unrecorded += 1
            log.error("call %s could not be recorded: %s", call.id, problem)

    async def close(self) -> None:
        await self.client.aclose()
        self._writer.shutdown()
