"""Answers that were given before: the same question of the same task gets the same bytes again until they expire.

Exact matches only. Two questions are the same when they differ in nothing that reaches the model: not in white space
between JSON tokens, in the order of keys, in who asks, in whether the answer is streamed.

`Cache` lives in the process and is the default. `RedisCache` shares answers between several gateways; its rule is
that a slow Redis is more dangerous than a dead one, so it may cost a request 50 ms five times and then nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from tuneloop.errors import BadInput
from tuneloop.records import Task
from tuneloop.texts import _

# What an entry takes beside its key and value (three objects' headers, the table's slots), measured with tracemalloc.
OVERHEAD = 320
DIGEST = 20  # bytes of a key: two different questions with one key cost 2^80 tries to find
# Fields that change who is answered or how, not what is said. `model` is named by the fingerprint.
NOT_ASKED = {"model", "user", "stream", "stream_options", "metadata", "store", "service_tier"}
NOT_ASKED |= {"safety_identifier", "prompt_cache_key"}
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode
_now = time.monotonic
_blake2b = hashlib.blake2b

log = logging.getLogger("tuneloop.cache")
T = TypeVar("T")


def fingerprint(task: Task) -> bytes:
    """16 bytes that change when the answers of a task may: texts, cleaner, variants; not weights, prices, limits."""
    variants = [[v.name, v.engine, v.model, v.parameters] for v in task.variants]
    shaping = [task.name, task.system, task.prompt, task.cleaner, variants]
    return _blake2b(_encode(shaping), digest_size=16).digest()


def key(task_fingerprint: bytes, body: bytes | Mapping[str, Any], *, scope: str = "") -> bytes:
    """20 bytes that name a question. body: a JSON object as bytes, parsed, or as fields of raw JSON (msgspec.Raw).

    scope: who may share the answer; "tenant/variant" keeps teams apart and every answer with the variant it is of.
    Raises nothing: what is no JSON object is named by its bytes.
    """
    written = body if isinstance(body, bytes) else _encode(body)
    try:
        fields = _decode(written)
        kept = _encode(
            {
                name: int(value) if value.__class__ is float and value.is_integer() else value
                for name, value in fields.items()
                if value is not None and name not in NOT_ASKED
            }
        )
    except (msgspec.MsgspecError, AttributeError, RecursionError, ValueError):  # half a surrogate, 1e999, 10^4 lists
        kept = written
    head = b"%d:%b%d:%b" % (len(task_fingerprint), task_fingerprint, len(scope), scope.encode("utf-8", "replace"))
    return _blake2b(head + kept, digest_size=DIGEST).digest()


def cacheable(request: Mapping[str, Any], status: int | str) -> bool:
    """Whether an answer may be kept: whole (200 or "ok"), and not a tool call that was drawn at random.

    A truncated, cancelled or failed answer is never kept. A call of a tool is an act, not a text: giving the same one
    again is right only where the model would have given it again, at temperature 0.
    """
    if status not in (200, "ok"):
        return False
    if not (_has(request, "tools") or _has(request, "functions")):
        return True
    return _spelled(request, "temperature") in (b"0", b"0.0", b"-0.0")


def _has(request: Mapping[str, Any], name: str) -> bool:
    return _spelled(request, name) not in (b"null", b"[]", b"{}", b"false")


def _spelled(request: Mapping[str, Any], name: str) -> bytes:
    value = request.get(name)
    return bytes(value) if isinstance(value, msgspec.Raw) else _encode(value)


class Cache:
    """Least recently used answers go first. O(1), well under a microsecond; for one thread, the event loop's.

    max_bytes: of keys, values and what Python needs to hold them.
    """

    __slots__ = ("_entries", "hits", "max_bytes", "misses", "size")

    def __init__(self, max_bytes: int) -> None:
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self.max_bytes = max_bytes
        self.size = self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """The value, or None when it was never put, was pushed out, or has expired."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        if entry[1] <= _now():
            self._drop(key)
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry[0]

    def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """Keep a value for so many seconds; one larger than the whole cache is not kept."""
        entries = self._entries
        if key in entries:
            self._drop(key)
        cost = len(key) + len(value) + OVERHEAD
        if seconds <= 0 or cost > self.max_bytes:
            return
        entries[key] = (value, _now() + seconds)
        self.size += cost
        while self.size > self.max_bytes:
            oldest, (dropped, _until) = entries.popitem(last=False)
            self.size -= len(oldest) + len(dropped) + OVERHEAD

    def _drop(self, key: bytes) -> None:
        self.size -= len(key) + len(self._entries.pop(key)[0]) + OVERHEAD


class RedisCache:
    """The same answers for several gateways, in Redis. Every failure is a miss; nothing here raises on a request.

    After `failures` operations in a row that failed or took longer than `timeout` (at most 50 ms) the breaker opens:
    Redis is left alone for `pause` seconds (at most 60), then one operation tries it. How much Redis holds is limited
    by its own `maxmemory` with `maxmemory-policy allkeys-lru`.
    Raises BadInput for a URL that is no Redis URL.
    """

    def __init__(
        self, url: str, *, timeout: float = 0.05, failures: int = 5, pause: float = 10.0, largest: int = 1_000_000
    ) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self.timeout, self.allowed, self.pause = min(timeout, 0.05), failures, min(pause, 60.0)
        self.largest = largest  # bytes of a value that is still kept
        self.hits = self.misses = self.errors = 0
        self.open_until = 0.0
        self._row = 0
        try:
            # No retries: the breaker decides. RESP2 needs no greeting, which would cost a new connection a round trip.
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=64,
                timeout=self.timeout,
                socket_connect_timeout=self.timeout,
                socket_timeout=self.timeout,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError:
            raise BadInput(
                _("this is no address of a Redis server"), fix=_("Write it as redis://HOST:6379/0.")
            ) from None
        self._redis = Redis(connection_pool=pool)
        self._place = urlsplit(url).hostname or url.partition("?")[0]  # the URL itself may hold a password

    @property
    def state(self) -> str:
        """ "closed" (asked), "open" (left alone)."""
        return "open" if _now() < self.open_until else "closed"

    async def get(self, key: bytes) -> bytes | None:
        """As Cache.get."""
        found = await self._ask(lambda: self._redis.get(b"tuneloop:cache:" + key))
        # The key stands before the value: a connection that lost its place can never give one answer for another.
        if isinstance(found, bytes) and found.startswith(key):
            self.hits += 1
            return found[len(key) :]
        self.misses += 1
        return None

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """As Cache.put."""
        if seconds > 0 and len(value) <= self.largest:
            milliseconds = max(1, int(seconds * 1000))
            await self._ask(lambda: self._redis.set(b"tuneloop:cache:" + key, key + value, px=milliseconds))

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _ask(self, command: Callable[[], Awaitable[T]]) -> T | None:
        from redis.exceptions import RedisError, ResponseError

        probe = self.open_until > 0.0
        if probe:
            if _now() < self.open_until:
                return None
            self.open_until = _now() + self.pause  # the others go on without Redis while this one tries
        try:
            async with asyncio.timeout(self.timeout):
                answer = await command()
        except ResponseError as problem:  # it answers, but not this: out of memory, no permission
            self.errors += 1
            log.warning("Redis at %s refuses to cache: %s", self._place, problem)
            answer = None
        except (RedisError, OSError, TimeoutError) as problem:
            self._failed(problem)
            return None
        if probe:
            log.warning("Redis at %s answers again", self._place)
            self.open_until = 0.0
        self._row = 0
        return answer

    def _failed(self, problem: Exception) -> None:
        self.errors += 1
        self._row += 1
        if self._row >= self.allowed:
            if self._row == self.allowed:
                log.error(
                    "Redis at %s is left alone for %g s after %d failures, the last: %s",
                    self._place, self.pause, self._row, type(problem).__name__,
                )  # fmt: skip
            self.open_until = _now() + self.pause
