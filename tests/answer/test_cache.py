"""The cache: one key for one question, least recently used out first, and a Redis that may die, forget or dawdle."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.answer.redis_server import Proxy, RedisServer
from tuneloop.answer import cache as module
from tuneloop.answer.cache import OVERHEAD, Cache, RedisCache, cacheable, fingerprint, key
from tuneloop.errors import BadInput
from tuneloop.records import Task, Variant

ASKED: dict[str, Any] = {
    "model": "hashtags",
    "messages": [{"role": "user", "content": "Привет"}],
    "temperature": 0.2,
    "max_tokens": 100,
}
MARK = b"0123456789abcdef"

# --- keys


def test_the_same_question_has_one_key() -> None:
    expected = key(MARK, ASKED)
    assert len(expected) == 20
    same = [
        dict(reversed(ASKED.items())),
        ASKED | {"model": "active"},
        ASKED | {"user": "anna", "stream": True, "stream_options": {"include_usage": True}, "metadata": {"a": "b"}},
        ASKED | {"max_tokens": 100.0, "top_p": None},
        ASKED | {"messages": [{"content": "Привет", "role": "user"}]},
    ]
    for other in same:
        assert key(MARK, other) == expected
        assert key(MARK, json.dumps(other, indent=3).encode()) == expected
        assert key(MARK, json.dumps(other, ensure_ascii=False).encode()) == expected
        assert key(MARK, msgspec.json.decode(json.dumps(other), type=dict[str, msgspec.Raw])) == expected


def test_another_question_has_another_key() -> None:
    others = [
        ASKED | {"temperature": 0.3},
        ASKED | {"seed": 1},
        ASKED | {"messages": [{"role": "user", "content": "Привет "}]},
        ASKED | {"messages": [{"role": "system", "content": "Привет"}]},
        ASKED | {"tools": []},
        {name: value for name, value in ASKED.items() if name != "temperature"},
    ]
    found = {key(MARK, other) for other in [ASKED, *others]}
    found |= {key(b"another", ASKED), key(MARK, ASKED, scope="shop/own"), key(MARK, ASKED, scope="shop2/own")}
    assert len(found) == len(others) + 4
    assert key(b"a", ASKED, scope="b") != key(b"", ASKED, scope="ab")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_spelling_does_not_matter(fields: dict[str, Any]) -> None:
    expected = key(MARK, fields)
    assert key(MARK, json.dumps(fields, indent=1).encode()) == expected
    assert key(MARK, json.dumps(dict(reversed(fields.items())), ensure_ascii=False).encode()) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda t: ('{"a": ' + t + "}").encode("utf-8", "replace")))
def test_no_bytes_are_without_a_key(body: bytes) -> None:
    assert len(key(MARK, body)) == 20


@pytest.mark.parametrize(
    "body", [b'{"a": "\\ud800"}', b'{"a": 1e999}', b"[1]", b"", b"null", b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
def test_what_is_no_question_has_a_key_too(body: bytes) -> None:
    assert key(MARK, body) == key(MARK, body) != key(MARK, b" " + body)


def test_a_fingerprint_changes_with_what_shapes_an_answer() -> None:
    variant = Variant("v", "local", "active")
    task = Task("t", (variant,))
    same = [replace(task, cache=5, retries=2, limit="1/day"), replace(task, variants=(replace(variant, weight=3),))]
    other = [
        replace(task, system="s"),
        replace(task, prompt="{text}"),
        replace(task, cleaner="strip"),
        replace(task, variants=(replace(variant, model="x"),)),
        replace(task, variants=(replace(variant, parameters={"temperature": 0}),)),
    ]
    assert {fingerprint(t) for t in same} == {fingerprint(task)}
    assert len({fingerprint(t) for t in [task, *other]}) == 6


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("request_", "status", "expected"),
    [
        (ASKED, 200, True),
        (ASKED, "ok", True),
        (ASKED, "truncated", False),
        (ASKED, "cancelled", False),
        (ASKED, "error", False),
        (ASKED, 500, False),
        (ASKED, 206, False),
        (ASKED | {"tools": TOOLS}, 200, False),
        (ASKED | {"tools": TOOLS, "temperature": 0}, 200, True),
        ({"tools": TOOLS}, 200, False),
        (ASKED | {"functions": TOOLS}, 200, False),
        (ASKED | {"tools": []}, 200, True),
    ],
)
def test_what_may_be_kept(request_: dict[str, Any], status: int | str, expected: bool) -> None:
    assert cacheable(request_, status) is expected
    raw = msgspec.json.decode(json.dumps(request_), type=dict[str, msgspec.Raw])
    assert cacheable(raw, status) is expected


# --- in the process


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    return now


def test_values_expire(clock: list[float]) -> None:
    cache = Cache(10_000)
    cache.put(b"k", b"v", 5)
    clock[0] += 4.9
    assert cache.get(b"k") == b"v"
    clock[0] += 0.1
    assert cache.get(b"k") is None
    assert (cache.hits, cache.misses, cache.size, len(cache)) == (1, 1, 0, 0)
    cache.put(b"k", b"v", 0)
    cache.put(b"n", b"v", -1)
    assert len(cache) == 0


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(3 * (1 + 100 + OVERHEAD))
    for name in (b"a", b"b", b"c"):
        cache.put(name, bytes(100), 60)
    assert cache.get(b"a")
    cache.put(b"d", bytes(100), 60)
    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    cache.put(b"e", bytes(10_000), 60)  # larger than everything
    assert cache.get(b"e") is None
    assert len(cache) == 3
    cache.put(b"a", bytes(10_000), 60)  # and what it was meant to replace is not given any more
    assert cache.get(b"a") is None


def test_the_limit_is_what_memory_is_taken() -> None:
    gc.collect()
    tracemalloc.start()
    try:
        cache = Cache(2_000_000)
        for n in range(10_000):
            cache.put(key(MARK, {"n": n}), b"x" * 500 + str(n).encode(), 60)
        taken, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) < 9_000
    assert 1_700_000 < cache.size <= 2_000_000
    assert taken < 2_100_000


class SmallCache(RuleBasedStateMachine):
    """Against a plain model: everything that was put, newest use last, cut to the size."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(2000)
        self.known: OrderedDict[bytes, bytes] = OrderedDict()

    @rule(name=st.binary(min_size=1, max_size=2), value=st.binary(max_size=2200))
    def put(self, name: bytes, value: bytes) -> None:
        self.cache.put(name, value, 60)
        self.known.pop(name, None)
        if len(name) + len(value) + OVERHEAD <= 2000:
            self.known[name] = value
        while sum(len(k) + len(v) + OVERHEAD for k, v in self.known.items()) > 2000:
            self.known.popitem(last=False)

    @rule(name=st.binary(min_size=1, max_size=2))
    def get(self, name: bytes) -> None:
        assert self.cache.get(name) == self.known.get(name)
        if name in self.known:
            self.known.move_to_end(name)

    @invariant()
    def adds_up(self) -> None:
        assert self.cache.size == sum(len(k) + len(v) + OVERHEAD for k, v in self.known.items()) <= 2000
        assert len(self.cache) == len(self.known)


TestSmallCache = SmallCache.TestCase
TestSmallCache.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_it_is_fast_enough_for_every_request() -> None:
    cache = Cache(64_000_000)
    names = [n.to_bytes(20, "big") for n in range(20_000)]
    for name in names:
        cache.put(name, b"x" * 1000, 60)
    best = min(_seconds(cache.get, names) for _n in range(5))
    assert best / len(names) < 1e-6  # 0.2 us where this was written


def _seconds(call: Any, names: list[bytes]) -> float:
    began = time.process_time()
    for name in names:
        call(name)
    return time.process_time() - began


# --- in Redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


async def timed(cache: RedisCache, name: bytes) -> tuple[bytes | None, float]:
    began = time.perf_counter()
    return await cache.get(name), time.perf_counter() - began


def test_values_are_shared_and_expire(server: RedisServer) -> None:
    async def run() -> None:
        one, other = RedisCache(server.url, timeout=0.05), RedisCache(server.url)
        await one.put(b"k", b"\x00\xff value", 0.2)
        assert await other.get(b"k") == b"\x00\xff value"
        assert await other.get(b"none") is None
        await asyncio.sleep(0.25)
        assert await other.get(b"k") is None
        await one.put(b"k", b"v", 0)
        await one.put(b"big", bytes(1_000_001), 60)
        assert await one.get(b"k") is await one.get(b"big") is None
        assert (other.hits, other.misses, other.errors, other.state) == (1, 2, 0, "closed")
        await one.close()
        await other.close()

    asyncio.run(run())


def test_flushed_redis_is_a_miss(server: RedisServer) -> None:
    async def run() -> None:
        cache = RedisCache(server.url)
        await cache.put(b"k", b"v", 60)
        assert server.command("FLUSHALL") == b"+OK"
        assert await cache.get(b"k") is None
        await cache.put(b"k", b"v2", 60)
        assert await cache.get(b"k") == b"v2"
        assert cache.errors == 0
        await cache.close()

    asyncio.run(run())


def test_killed_redis_costs_five_failures_and_comes_back(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)

    async def run() -> None:
        cache = RedisCache(server.url, pause=0.3)
        await cache.put(b"k", b"v", 60)
        assert await cache.get(b"k") == b"v"
        server.kill()
        took = [await timed(cache, b"k") for _n in range(200)]
        assert {value for value, _seconds in took} == {None}
        assert cache.errors == 5
        assert cache.state == "open"
        assert sorted(seconds for _value, seconds in took)[190] < 0.05
        await cache.put(b"k", b"v", 60)  # raises nothing either
        server.start()
        assert await cache.get(b"k") is None  # not asked yet
        await asyncio.sleep(0.35)
        await cache.put(b"k", b"new", 60)  # the probe
        assert await cache.get(b"k") == b"new"
        assert cache.state == "closed"
        await cache.close()

    try:
        asyncio.run(run())
    finally:
        server.kill()


def test_slow_redis_is_worse_than_a_dead_one_and_is_left_alone(server: RedisServer) -> None:
    """Every answer 20 s late (A9): five requests wait 50 ms, the others not at all; then it recovers."""

    async def run() -> None:
        async with Proxy(server.port) as proxy:
            cache = RedisCache(proxy.url, pause=0.5)
            await cache.put(b"k", b"v", 60)
            assert await cache.get(b"k") == b"v"
            proxy.delay = 20.0
            took = [(await timed(cache, b"k"))[1] for _n in range(5)]
            assert max(took) < 0.15
            assert cache.state == "open"
            after = sorted([(await timed(cache, b"k"))[1] for _n in range(400)])
            assert after[380] < 0.05
            assert cache.errors == 5
            together = await asyncio.gather(*(timed(cache, b"k") for _n in range(100)))
            assert max(seconds for _value, seconds in together) < 0.15
            await asyncio.sleep(0.55)
            probes = await asyncio.gather(*(timed(cache, b"k") for _n in range(100)))  # only one of them asks
            assert cache.errors == 6
            assert sorted(seconds for _value, seconds in probes)[95] < 0.05
            proxy.delay = 0.0
            await asyncio.sleep(0.55)
            assert await cache.get(b"k") == b"v"
            assert cache.state == "closed"
            await cache.close()

    asyncio.run(run())


def test_an_answer_that_comes_late_is_never_somebody_elses(server: RedisServer) -> None:
    """Requests that gave up leave answers on the wire; none of them may be read as the answer of the next."""

    async def run() -> None:
        async with Proxy(server.port) as proxy:
            cache = RedisCache(proxy.url, failures=10**9)
            names = [b"name-%d" % n for n in range(50)]
            for name in names:
                await cache.put(name, b"value of " + name, 60)
            proxy.delay = 0.06
            assert {await cache.get(name) for name in names[:10]} == {None}
            proxy.delay = 0.03
            found = [(name, await cache.get(name)) for name in names]
            for task in [asyncio.create_task(cache.get(name)) for name in names]:
                await asyncio.sleep(0.002)
                task.cancel()  # clients that leave
                await asyncio.gather(task, return_exceptions=True)
            proxy.delay = 0.0
            found += [(name, await cache.get(name)) for name in names]
            assert all(value in (None, b"value of " + name) for name, value in found)
            assert sum(value is not None for _name, value in found) >= 50
            await cache.close()

    asyncio.run(run())


def test_what_redis_refuses_is_no_reason_to_leave_it(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)

    async def run() -> None:
        cache = RedisCache(server.url)
        await cache.put(b"k", b"v", 60)
        server.command("CONFIG", "SET", "maxmemory", "1")
        for _n in range(10):
            await cache.put(b"n", b"v", 60)
        assert cache.errors == 10
        assert (cache.state, await cache.get(b"k")) == ("closed", b"v")
        await cache.close()

    try:
        asyncio.run(run())
    finally:
        server.kill()


def test_a_wrong_address_is_said_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BadInput) as caught:
        RedisCache("http://:s3cret@h")
    assert "s3cret" not in caught.value.message + caught.value.fix

    async def run() -> None:
        cache = RedisCache("redis://:s3cret@127.0.0.1:1/0")
        for _n in range(6):
            assert await cache.get(b"k") is None
        await cache.close()

    asyncio.run(run())
    assert "127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text
