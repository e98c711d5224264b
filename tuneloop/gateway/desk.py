"""What all requests of one server share: engines and their places, routes, keys, limits, cache, journal, counters.

Made once per running app. `tick` runs every second: it takes up changed configuration and experiments, looks at the
clocks of connections, and lets the switch learn.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from tuneloop import journal
from tuneloop.access import proxies
from tuneloop.access.caller import Doorkeeper
from tuneloop.access.limits import Limiter
from tuneloop.answer import cache, health, quality, route, statistics
from tuneloop.answer.predictor import Predictors
from tuneloop.answer.route import Asker, Lane, Route
from tuneloop.answer.serving import Serving
from tuneloop.answer.switch import Switch
from tuneloop.answer.tasks import Shelf
from tuneloop.ask.uploads import Opened
from tuneloop.choose import experiments
from tuneloop.choose.assign import Assigner
from tuneloop.errors import TuneloopError
from tuneloop.gateway import heap
from tuneloop.gateway.engines import Engines
from tuneloop.gateway.failures import Failure
from tuneloop.gateway.finders import Finders
from tuneloop.gateway.origin import Origin
from tuneloop.gateway.quality import judge_new
from tuneloop.gateway.reading import Asked
from tuneloop.gateway.tally import Tally
from tuneloop.gateway.traces import spans
from tuneloop.gateway.wire import Client
from tuneloop.journal import Row
from tuneloop.loop.photo_retraining import Retraining
from tuneloop.search.library import Library
from tuneloop.texts import _
from tuneloop.workspace import Workspace

WATCH = 10.0  # seconds between looks at the running experiments
SAMPLE = 60.0  # seconds between samples of health

log = logging.getLogger("tuneloop.gateway")
_encode = msgspec.json.Encoder().encode


class LimitReached(Failure):
    """429, with the seconds after which the next request may come."""

    def __init__(self, limit: str, wait: float) -> None:
        said = _("more requests than {limit}").format(limit=limit)
        super().__init__(429, "rate_limit_exceeded", said, retry_after=max(1, math.ceil(wait)))


class Desk:
    """Use `start` and `close` around the life of the server; everything else is called by requests."""

    def __init__(self, workspace: Workspace, serving: Serving | None, *, host: str = "127.0.0.1") -> None:
        settings = workspace.settings
        self.workspace = workspace
        self.serving = serving
        self.origin = Origin(host)
        self.context = settings.integer("serve.context")
        self.timeout = settings.number("serve.timeout")
        self.body_limit = settings.integer("serve.body_limit")
        self.limit_key = settings.text("access.limit_key")
        self.limit_user = settings.text("access.limit_user")
        self.proxies = proxies.networks(settings.text("access.proxies"))
        self.started = time.time()
        self.closing = False
        self._random: list[str] = []
        self.refused = 0
        self.tally = Tally()
        self.doorkeeper = Doorkeeper(workspace, host=host)
        self.limiter = Limiter(settings)
        self.shelf = Shelf(workspace)
        self.engines = Engines(workspace, serving)
        self.engines.follow(self.shelf.book)
        self.assigner = Assigner()
        self.switch = Switch(workspace)
        self.predictors = Predictors(workspace)
        self.spans = spans(settings.text("traces.url"), settings.number("traces.share"))
        self.cache = cache.Cache(settings.integer("cache.bytes"))
        url = settings.text("cache.redis_url")
        self.shared_cache = cache.RedisCache(url) if url else None
        self.library = Library(workspace)
        self.tables = Opened(workspace)
        self.retraining = Retraining(workspace)
        self.photos = Finders(workspace)
        self.shadows = 0  # under way
        self.test_results: list[tuple[tuple[str, str, str], float]] = []
        self._watched = self._sampled = self._judged = float("-inf")
        self._undecided: set[str] = set()
        self._judging: asyncio.Task[None] | None = None
        self.log = log
        self.journal = journal.Journal(journal.place(workspace)[0])
        self.wires: Callable[[], list[Any]] = list  # the server says which connections there are
        self._drainer: subprocess.Popen[bytes] | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None

    # --- called for every request: plain functions over dictionaries

    def new_id(self, prefix: str) -> str:
        """Milliseconds since 1970, then 80 random bits, as in RFC 9562: without order a row takes a third longer."""
        if not self._random:  # 256 at once: asking the system for each takes 2 us
            block = secrets.token_hex(10 * 256)
            self._random = [block[start : start + 20] for start in range(0, len(block), 20)]
        return f"{prefix}{int(time.time() * 1000):012x}{self._random.pop()}"

    async def limit(self, scope: str, limit: str) -> None:
        """Raises TooMany with the seconds to wait."""
        if not limit:
            return
        now, limiter = time.monotonic(), self.limiter
        wait = await limiter.wait_shared(scope, limit, now) if limiter.shared else limiter.wait(scope, limit, now)
        if wait:
            raise LimitReached(limit, wait)

    def address(self, client: Client) -> str:
        """Where a request comes from; X-Forwarded-For is believed of named proxies only."""
        if not self.proxies:
            return client.peer
        return proxies.client_address(client.peer, client.headers.get(b"x-forwarded-for", b""), self.proxies)

    def choose(self, chosen: Route, asked: Asked, user: str) -> tuple[list[Lane], str, float]:
        asker = Asker(user, asked.tags or {})
        if known := self.predictors.of(chosen.task):
            asker = replace(asker, good_enough=lambda: known.probability(asked.text()), bar=known.bar)
        return route.choose(chosen, asker)

    async def recall(self, key: bytes) -> bytes | None:
        """A kept answer, from this process or from Redis."""
        found = self.cache.get(key)
        if found is None and self.shared_cache is not None:
            found = await self.shared_cache.get(key)
        return found

    def remember(self, key: bytes, body: bytes, seconds: float) -> None:
        self.cache.put(key, body, seconds)
        if self.shared_cache is not None:
            self.spawn(self.shared_cache.put(key, body, seconds))

    def write(self, row: Row, parent: bytes = b"") -> None:
        """The row of a call, handed to the system before the answer ends; counted in the metrics, traced.

        parent: the client's `traceparent` header.
        """
        self.journal.append(_encode(row))
        self.tally.add(row)
        self.spans.add(row, parent)

    @property
    def retry_after(self) -> int:
        return self.serving.retry_after if self.serving else 1

    # --- life

    async def start(self) -> None:
        _folder, url = journal.place(self.workspace)
        assert self.workspace.db  # migrated before anything drains into it
        command = [sys.executable, "-m", "tuneloop.journal", str(self.journal.folder), url, str(os.getpid())]
        self._drainer = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        await asyncio.to_thread(self._learn)
        self.retraining.begin()
        self._ticker = asyncio.create_task(self._tick_forever())

    async def close(self) -> None:
        """Everything that was answered is in the database when this returns."""
        self.retraining.stop()
        for task in (self._ticker, self._judging):
            if task:
                task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self.engines.close()
        self.journal.close()
        if self._drainer:
            self._drainer.terminate()
            await asyncio.to_thread(self._drainer.wait)
        await asyncio.to_thread(self.settle)
        await asyncio.to_thread(self.spans.close)
        await asyncio.to_thread(self.tables.close)
        await asyncio.to_thread(self.photos.close)

    def settle(self) -> None:
        """Bring every row that waits in the journal into the database. Blocking; milliseconds when little waits."""
        journal.settle(self.workspace)

    def spawn(self, work: Any) -> asyncio.Task[None]:
        """Run something after the reply (a shadow, a stored reply); it is awaited before the server ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await self.tick()
            except Exception:  # the ticker outlives every single problem
                log.exception("the server's clock goes on after an error")

    async def tick(self) -> None:
        now = time.monotonic()
        for wire in self.wires():
            wire.look(now)
        if self.shelf.refresh():
            self.engines.follow(self.shelf.book)
        self.engines.follow_serving()
        await asyncio.to_thread(self._learn)
        now = time.monotonic()
        if now - self._judged >= SAMPLE and self._judging is None:
            self._judged, self._judging = now, self.spawn(self._judge())

    async def _judge(self) -> None:
        try:
            await judge_new(self, self._undecided)
        except TuneloopError as problem:
            log.warning("answers were not judged: %s", problem.message)
        finally:
            self._judging = None

    def _learn(self) -> None:
        """What needs the database: experiments that began or ended, guardrails, the switch, health, retention."""
        now = time.monotonic()
        self.spans.hand_over()
        try:
            self.assigner = experiments.assigner(self.workspace)
            self.switch.refresh(self.shelf.book)
            self.predictors.refresh(self.shelf.book)
            if now - self._watched >= WATCH:
                self._watched = now
                self._watch()
            if now - self._sampled >= SAMPLE:
                self._sampled = now
                health.keep(self.workspace, health.sample(self.workspace, **self.sample()))
                quality.score_new(self.workspace, self.shelf.book)
                if days := self.workspace.settings.number("calls.keep_days"):
                    statistics.forget_old(self.workspace, days)
                heap.give_back()
        except TuneloopError as problem:
            log.warning("the database did not answer: %s", problem.message)

    def _watch(self) -> None:
        """Look at the running experiments: those whose guardrail broke or whose time is over end."""
        for ended in experiments.watch(self.workspace):
            log.warning("experiment %s: %s", ended.name, ended.state)
        self.test_results = [
            ((one.name, c["arm"], c["metric"]), float(c["value"]))
            for one in experiments.history(self.workspace, tenant=None, state="running")
            for c in (one.verdict or {}).get("comparisons", ())
        ]

    def sample(self) -> dict[str, Any]:
        """What only the server knows of its health."""
        return {
            "engines": {name: station.status for name, station in self.engines.stations.items()},
            "cache": {"hits": self.cache.hits, "misses": self.cache.misses},
            "journal_bytes": journal.waiting(self.journal.folder),
            "refused": sum(self.tally.refused.values()),
        }
