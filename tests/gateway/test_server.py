"""The end of a server: requests in flight end, open streams are told, every call is a row."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.engines.tiny import write_tiny
from tests.gateway.live import ENDLESS, QUESTION, configured
from tests.gateway.process import Served, serve
from tuneloop.answer import calls, feedback
from tuneloop.errors import Conflict
from tuneloop.gateway.server import listen

GRACE = 2.0


def stream_to_the_end(url: str, started: threading.Barrier) -> list[str]:
    body = ENDLESS | {"stream": True}
    with httpx.stream("POST", url + "/v1/chat/completions", json=body, timeout=60, trust_env=False) as reply:
        lines = reply.iter_lines()
        said = [next(lines)]
        started.wait(20)
        return said + [line for line in lines if line]


def ask(url: str) -> int:
    try:
        return httpx.post(url + "/v1/chat/completions", json=QUESTION, timeout=60, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def stop_under_load(path: Path, streams: int, questions: int, *, slack: float) -> None:
    """slack: seconds beyond the time of grace; 2 is the promise on a machine that does nothing else."""
    workspace = configured(path / "work", context=65536, parallel=streams + 2, queue=200, grace=GRACE)
    model = write_tiny(path / "tiny.gguf", context=1 << 20)
    with serve(path / "work", "--model", model) as served, ThreadPoolExecutor(streams + questions) as pool:
        started = threading.Barrier(streams + 1)
        open_streams = [pool.submit(stream_to_the_end, served.url, started) for _n in range(streams)]
        started.wait(20)
        asked = [pool.submit(ask, served.url) for _n in range(questions)]
        # all of them are inside before the signal comes: queued, running or answered
        while True:
            health = httpx.get(served.url + "/health", trust_env=False, timeout=60).json()["engines"]["local"]
            if health["running"] + health["waiting"] - streams + sum(f.done() for f in asked) >= questions:
                break
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(GRACE + slack) == 0
        assert time.monotonic() - began < GRACE + slack
        answers = [future.result() for future in asked]
        for future in open_streams:
            said = future.result()
            assert "[DONE]" not in said[-1]
            assert json.loads(said[-1].removeprefix("data: "))["error"]["code"] == "closing"
    assert answers == [200] * questions
    assert calls.count_by_status(workspace) == {"ok": questions, "truncated": streams}
    truncated = [c for c in calls.recent(workspace, 1000) if c.status == "truncated"]
    assert all(c.tokens_out > 0 and c.answer for c in truncated)
    workspace.db.close()


def test_sigterm_lets_questions_end_and_tells_streams(tmp_path: Path) -> None:
    stop_under_load(tmp_path, streams=2, questions=8, slack=6)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(20))
def test_sigterm_with_fifty_questions_and_five_streams(tmp_path: Path, turn: int) -> None:
    stop_under_load(tmp_path, streams=5, questions=50, slack=2)


def test_idle_server_stops_at_once_and_takes_its_model_along(tmp_path: Path) -> None:
    configured(tmp_path / "work", context=256)
    with serve(tmp_path / "work", "--model", write_tiny(tmp_path / "tiny.gguf")) as served:
        children = psutil.Process(served.process.pid).children(recursive=True)
        assert children
        began = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(20) == 0
        assert time.monotonic() - began < 10
        _gone, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


def test_killed_server_leaves_no_model_behind(tmp_path: Path) -> None:
    configured(tmp_path / "work", context=256)
    with serve(tmp_path / "work", "--model", write_tiny(tmp_path / "tiny.gguf")) as served:
        children = psutil.Process(served.process.pid).children(recursive=True)
        served.process.kill()
        _gone, alive = psutil.wait_procs(children, timeout=3)
        assert children
        assert not alive


def test_taken_port_is_one_clear_error() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(Conflict, match="cannot listen") as caught:
        listen("127.0.0.1", first.getsockname()[1])
    assert "--port" in caught.value.fix


def click_until_killed(served: Served, call: str, first: int) -> list[int]:
    """Send one click after another; returns the numbers of those that were acknowledged."""
    acknowledged = []
    with httpx.Client(timeout=5, trust_env=False) as client:
        for n in range(first, first + 100_000):
            body = {"call": call, "kind": "comment", "value": f"n{n}"}
            try:
                reply = client.post(served.url + "/feedback", json=body, headers={"Idempotency-Key": f"n{n}"})
            except httpx.TransportError:
                break
            assert reply.status_code == 200
            acknowledged.append(n)
    return acknowledged


def kill_under_feedback(path: Path, kills: int, seed: int) -> None:
    """kill -9 of the whole server while it takes feedback; then the client repeats what was in doubt."""
    workspace = configured(path / "work", context=256)
    model = write_tiny(path / "tiny.gguf")
    rng = random.Random(seed)
    call, following, sure = "", 0, set()
    for _n in range(kills + 1):
        with serve(path / "work", "--model", model) as served, ThreadPoolExecutor(1) as pool:
            post = httpx.post
            if not call:
                call = post(served.url + "/v1/chat/completions", json=QUESTION, trust_env=False, timeout=60).json()[
                    "id"
                ]
            else:  # in doubt: committed or not, nobody has heard
                body = {"call": call, "kind": "comment", "value": f"n{following}"}
                headers = {"Idempotency-Key": f"n{following}"}
                assert (
                    post(served.url + "/feedback", json=body, headers=headers, trust_env=False, timeout=60).status_code
                    == 200
                )
                sure.add(following)
                following += 1
            clicking = pool.submit(click_until_killed, served, call, following)
            time.sleep(0.1 + rng.random() * 0.2)
            os.kill(served.process.pid, signal.SIGKILL)
            acknowledged = clicking.result()
            sure.update(acknowledged)
            following = max(sure, default=-1) + 1
    stored = [f.value for f in feedback.of_call(workspace, call)]
    assert len(stored) == len(set(stored))
    assert {f"n{n}" for n in sure} <= set(stored) <= {f"n{n}" for n in range(following + 1)}
    assert len(sure) > kills
    assert workspace.db.problems() == []
    workspace.db.close()


def test_kill_9_of_the_server_loses_no_acknowledged_feedback(tmp_path: Path) -> None:
    kill_under_feedback(tmp_path, kills=2, seed=1)


@pytest.mark.soak
def test_200_times_kill_9_of_the_server_loses_no_acknowledged_feedback(tmp_path: Path) -> None:
    kill_under_feedback(tmp_path, kills=200, seed=2)
