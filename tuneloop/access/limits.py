"""How many requests a key, a user, a task may make: the generic cell rate algorithm, in process or on Redis.

GCRA (ITU-T I.371, the leaky bucket as a meter) keeps one number a scope: the moment at which its bucket will be empty
again. In process a check is a dictionary look-up, 0.4 us; on Redis (several servers, one limit) it is the `limits`
library's sliding window. A Redis that is slow or away is left alone for a while and the local limit holds alone: the
limit never falls open.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

from tuneloop.errors import BadInput
from tuneloop.settings import Settings
from tuneloop.texts import _

PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
SCOPES = 50_000  # remembered at once: 10 MB. Beyond it those that are empty go, then the oldest
FAILURES = 5  # of Redis in a row, after which it is left alone
PAUSE = 30.0  # seconds until it is tried again
PATIENCE = 0.05  # seconds one question to Redis may take


@lru_cache(maxsize=1024)
def parsed(limit: str) -> tuple[float, float]:
    """ "60/minute" -> (seconds between requests, seconds of a full burst). Raises BadInput."""
    count, _slash, period = limit.partition("/")
    if not count.isdigit() or not int(count) or period not in PERIODS or len(count) > 9:
        raise BadInput(
            _("'{limit}' is no limit").format(limit=limit[:40]),
            fix=_("Write it as 60/minute (second, minute, hour, day)."),
        )
    return PERIODS[period] / int(count), PERIODS[period]


class Limiter:
    """`wait` decides in this process alone; `wait_shared` asks Redis first where the setting names one."""

    def __init__(self, settings: Settings) -> None:
        self._empty_at: dict[str, float] = {}
        self._url = settings.text("access.redis_url")
        self._shared: Any = None
        self._storage: Any = None
        self._failures = 0
        self._not_before = 0.0

    @property
    def shared(self) -> bool:
        """Whether several servers keep one limit."""
        return bool(self._url)

    def wait(self, scope: str, limit: str, now: float) -> float:
        """0.0 when the request may pass (it is then counted), else the seconds until one may. now: monotonic."""
        each, burst = parsed(limit)
        empty_at = self._empty_at.get(scope, now)
        empty_at = max(empty_at, now)
        if empty_at - now > burst - each:
            return empty_at - now - burst + each
        if len(self._empty_at) >= SCOPES and scope not in self._empty_at:
            self._make_room(now)
        self._empty_at[scope] = empty_at + each
        return 0.0

    async def wait_shared(self, scope: str, limit: str, now: float) -> float:
        """As `wait`, over all servers that share the Redis."""
        local = self.wait(scope, limit, now)
        if local or not self._url or now < self._not_before:
            return local
        try:
            waited = await self._ask(scope, limit)
        except Exception:  # noqa: BLE001  whatever a dead Redis makes its client raise, the local limit has decided
            self._failures += 1
            if self._failures >= FAILURES:
                self._failures, self._not_before = 0, now + PAUSE
            return local
        self._failures = 0
        return waited

    async def _ask(self, scope: str, limit: str) -> float:
        from limits import parse
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import SlidingWindowCounterRateLimiter
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        if self._shared is None:
            # The sockets' own time limits: cancelling the client in the middle would leave its connection open.
            self._storage = RedisStorage(
                "async+" + self._url,
                implementation="redispy",
                socket_timeout=PATIENCE,
                socket_connect_timeout=PATIENCE,
                retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # handed on to redis-py
            )
            self._shared = SlidingWindowCounterRateLimiter(self._storage)
        rule = parse(limit)
        if await self._shared.hit(rule, scope):
            return 0.0
        window = await self._shared.get_window_stats(rule, scope)
        return max(0.001, float(window.reset_time) - time.time())

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._storage is not None:
            await self._storage.bridge.get_connection().connection_pool.disconnect(inuse_connections=True)

    def _make_room(self, now: float) -> None:
        """Forget scopes whose bucket is empty, which changes nothing; if all are in use, the oldest tenth."""
        self._empty_at = {scope: moment for scope, moment in self._empty_at.items() if moment > now}
        if len(self._empty_at) >= SCOPES:
            for scope in list(self._empty_at)[: SCOPES // 10]:
                del self._empty_at[scope]
