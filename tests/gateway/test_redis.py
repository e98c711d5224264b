"""The gateway while its Redis is emptied, killed, and so slow that it might as well be dead: nobody is told."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.answer.redis_server import RedisServer
from tests.gateway.live import until
from tests.gateway.process import serve
from tests.gateway.test_exchange import ASK, ECHO, task
from tuneloop.workspace import open_workspace, write_atomically

PATH = "/v1/chat/completions"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path)
    yield found
    found.kill()


@contextmanager
def gateways(path: Path, redis: RedisServer, count: int, limit: str) -> Iterator[list[str]]:
    """Addresses of so many servers, each with a workspace of its own, over one Redis."""
    with ExitStack() as stack:
        toml = f'[cache]\nredis_url = "{redis.url}"\n[access]\nredis_url = "{redis.url}"\n'
        found = []
        for n in range(count):
            open_workspace(path / str(n), create=True)
            write_atomically(path / str(n) / "tuneloop.toml", toml + ECHO + task("echo", cache=60, limit=limit))
            found.append(stack.enter_context(serve(path / str(n))).url)
        yield found


def ask(url: str, text: str, user: str = "") -> tuple[int, bool, float]:
    """(status, whether it came from a cache, seconds)."""
    body: dict[str, Any] = ASK | {"messages": [{"role": "user", "content": text}], "user": user or text}
    began = time.monotonic()
    reply = httpx.post(url + PATH, json=body, trust_env=False, timeout=30)
    assert reply.status_code != 200 or reply.json()["choices"][0]["message"]["content"] == text
    return reply.status_code, "x-tuneloop-cache" in reply.headers, time.monotonic() - began


def test_two_servers_share_answers_and_limits_and_a_flush_is_only_a_miss(tmp_path: Path, redis: RedisServer) -> None:
    with gateways(tmp_path, redis, 2, "10/hour") as (one, two):
        assert ask(one, "a")[:2] == (200, False)
        until(lambda: ask(two, "a", "other")[1], 5)  # kept after the reply
        codes = [ask(url, f"q{n}", "anna")[0] for n in range(8) for url in (one, two)]
        assert codes.count(200) == 10 and codes.count(429) == 6
        redis.command("FLUSHALL")
        assert {ask(url, f"new{n}")[0] for n in range(10) for url in (one, two)} == {200}


@pytest.mark.parametrize("harm", ["killed", "silent"])
def test_without_redis_everybody_is_answered_and_limits_hold_here(
    tmp_path: Path, redis: RedisServer, harm: str
) -> None:
    with gateways(tmp_path, redis, 1, "10/hour") as (url,):
        usual = sorted(ask(url, f"before{n}")[2] for n in range(40))
        assert redis.process
        process = redis.process
        redis.kill() if harm == "killed" else process.send_signal(signal.SIGSTOP)
        try:
            first = [ask(url, f"first{n}") for n in range(12)]  # those that find out
            after = [ask(url, f"after{n}") for n in range(100)]
            assert {code for code, _hit, _took in first + after} == {200}
            codes = [ask(url, f"anna{n}", "anna")[0] for n in range(15)]
            assert codes == [200] * 10 + [429] * 5, "the limit falls back to this server's own, not open"
            assert ask(url, "after1", "again")[1], "what this server keeps itself is still given"
        finally:
            if harm == "silent":
                process.send_signal(signal.SIGCONT)
        slowest = max(took for _code, _hit, took in first)
        p95 = sorted(took for _code, _hit, took in after)[94]
        print(f"{harm}: the first at most {slowest * 1e3:.0f} ms; p95 {p95 * 1e3:.1f} ms, {usual[38] * 1e3:.1f} before")
        assert slowest < 5
        assert p95 - usual[38] < 0.5  # 50 ms is the promise on a machine that does nothing else
