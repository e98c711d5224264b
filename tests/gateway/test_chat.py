"""What can happen to a request: every way it can end is a row, and no cut answer looks whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.gateway.live import ENDLESS, QUESTION, Live, Scripted, scripted_server, tiny_server, until
from tuneloop import journal
from tuneloop.answer import calls

STREAM = ENDLESS | {"stream": True}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def event(text: str) -> bytes:
    choice = {"index": 0, "finish_reason": None, "delta": {"content": text}}
    timings = {"prompt_n": 4, "cache_n": 1, "predicted_n": 2}
    return b"data: " + json.dumps({"choices": [choice], "timings": timings}, ensure_ascii=False).encode() + b"\n\n"


def chunked(*parts: bytes) -> bytes:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts)


def lines(live: Live, body: dict[str, Any]) -> list[str]:
    with httpx.stream("POST", live.url + "/v1/chat/completions", json=body, timeout=30, trust_env=False) as reply:
        assert reply.status_code == 200, reply.read()
        return [line.removeprefix("data: ") for line in reply.iter_lines() if line]


CUTS = {
    "close-delimited": (HEAD + b"\r\n" + event("he"), False),
    "chunks without an end": (chunked(event("he")), False),
    "reset": (chunked(event("he")), True),
    "clean end without the marker": (chunked(event("he")) + b"0\r\n\r\n", False),
    "error event": (chunked(event("he"), b'data: {"error": {"message": "slot lost"}}\n\n') + b"0\r\n\r\n", False),
    "half an event": (chunked(event("he"), b'data: {"choi') + b"0\r\n\r\n", False),
}


@pytest.mark.parametrize("cut", CUTS)
def test_cut_stream_is_truncated_and_says_so(cut: str, tmp_path: Path) -> None:
    reply, reset = CUTS[cut]
    with scripted_server(tmp_path, Scripted(reply, reset=reset)) as live:
        said = lines(live, QUESTION | {"stream": True})
        (row,) = live.rows(1)
    assert "[DONE]" not in said
    assert json.loads(said[-1])["error"]["type"] == "server_error"
    assert (row.status, row.answer, row.tokens_in, row.tokens_out) == ("truncated", "he", 5, 2)
    assert row.error


def test_openai_client_raises_on_a_cut_stream(tmp_path: Path) -> None:
    reply = chunked(event("he"))
    with (
        scripted_server(tmp_path, Scripted(reply)) as live,
        openai.OpenAI(base_url=live.url + "/v1", api_key="none", max_retries=0) as client,
        client.chat.completions.create(model="active", messages=QUESTION["messages"], stream=True) as stream,
        pytest.raises(openai.APIError, match="hung up"),
    ):
        list(stream)


def test_whole_stream_is_whole_whatever_stands_in_it(tmp_path: Path) -> None:
    """U+2028 and U+0085 are line ends to Python and to httpx, but not to server-sent events."""
    text = "a\u2028b\u0085c"
    reply = chunked(event(text)[:20], event(text)[20:], b"data: [DONE]\n\n") + b"0\r\n\r\n"
    with scripted_server(tmp_path, Scripted(reply)) as live:
        with httpx.stream("POST", live.url + "/v1/chat/completions", json=QUESTION | {"stream": True}) as answer:
            said = answer.read().decode()
        (row,) = live.rows(1)
    assert said.endswith("data: [DONE]\n\n")
    assert (row.status, row.answer) == ("ok", text)


@pytest.mark.parametrize("stream", [False, True])
def test_silent_engine_ends_at_the_deadline(tmp_path: Path, stream: bool) -> None:
    engine = Scripted(b"", hang=True)
    with scripted_server(tmp_path, engine, timeout=0.5) as live:
        began = time.monotonic()
        reply = live.post("/v1/chat/completions", QUESTION | {"stream": stream})
        assert time.monotonic() - began < 5  # 0.5 and what a busy machine adds, not the engine's for ever
        (row,) = live.rows(1)
        assert engine.hung_up.wait(1)
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")
    assert (row.status, row.tokens_out) == ("error", 0)


def test_stalled_stream_is_truncated_at_the_deadline(tmp_path: Path) -> None:
    engine = Scripted(chunked(event("he")), hang=True)
    with scripted_server(tmp_path, engine, timeout=0.5) as live:
        said = lines(live, QUESTION | {"stream": True})
        (row,) = live.rows(1)
        assert engine.hung_up.wait(1)
    assert json.loads(said[-1])["error"]["code"] == "timeout"
    assert (row.status, row.answer) == ("truncated", "he")


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_client_frees_the_engine_within_a_second(tmp_path: Path, stream: bool) -> None:
    engine = Scripted(chunked(event("he")) if stream else b"", hang=True)
    with scripted_server(tmp_path, engine) as live:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(live.url + "/v1/chat/completions", json=QUESTION | {"stream": stream}, timeout=0.3)
        assert engine.hung_up.wait(1)
        (row,) = live.rows(1)
    assert row.status == "cancelled"
    assert row.tokens_out == (2 if stream else 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with tiny_server(tmp_path_factory.mktemp("tiny"), context=16384, parallel=2, queue=2) as live:
        yield live


def busy_slots(live: Live) -> int:
    with live.serving.lease() as model:
        slots = httpx.get(model.engine.url + "/slots", headers=model.engine.headers).json()
    return sum(slot["is_processing"] for slot in slots)


def test_client_that_leaves_mid_stream_stops_the_model(tiny: Live) -> None:
    before = len(calls.recent(tiny.workspace))
    with httpx.stream("POST", tiny.url + "/v1/chat/completions", json=STREAM, timeout=30) as reply:
        read = reply.iter_lines()  # kept: the connection ends with its reader
        first = next(read)
        until(lambda: busy_slots(tiny) == 1)
    began = time.monotonic()
    until(lambda: busy_slots(tiny) == 0, 5)
    row = tiny.rows(before + 1)[0]
    assert time.monotonic() - began < 5  # 16,384 tokens would take minutes
    assert row.id == json.loads(first.removeprefix("data: "))["id"]
    assert row.status == "cancelled"
    assert 0 < row.tokens_out < 16384
    assert row.tokens_in > 0


def test_forty_leaving_clients_are_forty_rows(tiny: Live) -> None:
    before = len(calls.recent(tiny.workspace, 1000))

    async def leave(client: httpx.AsyncClient, after: int) -> bool:
        async with client.stream("POST", tiny.url + "/v1/chat/completions", json=STREAM) as reply:
            if reply.status_code != 200:
                return False  # the queue was full: not a call
            async for _line in reply.aiter_lines():
                after -= 1
                if after < 0:
                    break
        return True

    async def all_of_them() -> int:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            taken = 0
            for n in range(20):
                taken += sum(await asyncio.gather(*(leave(client, n % 7) for _k in range(2))))
            return taken

    taken = asyncio.run(all_of_them())
    assert taken == 40
    rows = tiny.rows(before + taken)[:taken]
    assert {row.status for row in rows} == {"cancelled"}
    until(lambda: busy_slots(tiny) == 0, 2)


def test_full_queue_is_503_at_once(tiny: Live) -> None:
    """2 places and 2 that wait: of 12 at once 8 are told to come back, quickly, and none of them is a row."""
    before = len(calls.recent(tiny.workspace, 1000))

    def ask(client: httpx.Client) -> tuple[int, float, str]:
        began = time.monotonic()
        reply = client.post(tiny.url + "/v1/chat/completions", json=ENDLESS | {"max_tokens": 3000})
        return reply.status_code, time.monotonic() - began, reply.headers.get("retry-after", "")

    with ThreadPoolExecutor(12) as pool, ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(timeout=60, trust_env=False)) for _n in range(12)]
        results = list(pool.map(ask, clients))
    refused = [r for r in results if r[0] == 503]
    assert len(refused) == 8
    assert all(int(after) >= 1 for _code, _took, after in refused)
    # 100 ms is the promise on an idle machine; on any machine nobody is refused only after others were answered
    assert max(took for _code, took, _after in refused) < min(took for code, took, _after in results if code == 200)
    assert [r[0] for r in results].count(200) == 4
    assert len(tiny.rows(before + 4)) - before == 4
    assert tiny.get("/health").json()["refused"] >= 8


def test_killed_model_fails_the_call_and_comes_back(tmp_path: Path) -> None:
    with tiny_server(tmp_path, context=16384) as live:
        with httpx.stream("POST", live.url + "/v1/chat/completions", json=STREAM, timeout=30) as reply:
            read = reply.iter_lines()
            next(read)
            with live.serving.lease() as model:
                assert model.engine.pid
                os.kill(model.engine.pid, signal.SIGKILL)
                psutil.wait_procs([psutil.Process(model.engine.pid)], timeout=2)
            said = [line for line in read if line]
        assert "[DONE]" not in said[-1]
        assert "error" in json.loads(said[-1].removeprefix("data: "))
        reply = live.post("/v1/chat/completions", QUESTION)
        while reply.status_code == 503:
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.json()["error"]["code"] == "engine_down"
            time.sleep(0.1)
            reply = live.post("/v1/chat/completions", QUESTION)
        assert reply.status_code == 200
        states = [row.status for row in live.rows(2)]
    assert states[-1] == "truncated"
    assert states[0] == "ok"
    assert set(states[1:-1]) <= {"error"}


def test_template_that_refuses_a_message_is_the_clients_error(tmp_path: Path) -> None:
    """Gemma's template raises for two users in a row: llama.cpp's answer must not look like our failure."""
    picky = (
        "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
        "{{ m['content'] }}{% endfor %}"
    )
    from tests.engines.tiny import write_tiny
    from tests.gateway.live import configured, running
    from tuneloop.answer.serving import Serving

    workspace = configured(tmp_path / "work", context=512, grace=0.5)
    serving = Serving(workspace, file=write_tiny(tmp_path / "picky.gguf", template=picky))
    serving.start()
    try:
        with running(workspace, serving) as live:
            body = QUESTION | {"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}
            reply = live.post("/v1/chat/completions", body)
    finally:
        serving.stop()
    assert reply.status_code == 400
    assert "no tools here" in reply.json()["error"]["message"]


def test_row_is_there_before_the_answer(tiny: Live) -> None:
    """Feedback may name the call the moment its answer has arrived."""
    for _n in range(5):
        call = tiny.post("/v1/chat/completions", QUESTION).json()["id"]
        journal.settle(tiny.workspace)
        assert calls.find(tiny.workspace, call)
        identity = json.loads(lines(tiny, QUESTION | {"stream": True})[0])["id"]
        assert tiny.post("/feedback", {"call": identity, "kind": "thumb", "value": "up"}).status_code == 200


def test_full_disk_does_not_withhold_an_answer(tiny: Live) -> None:
    writer = tiny.server.desk.journal
    assert tiny.post("/v1/chat/completions", QUESTION).status_code == 200
    good, writer._handle = writer._handle, os.open("/dev/full", os.O_WRONLY)
    assert tiny.post("/v1/chat/completions", QUESTION).status_code == 200
    assert tiny.get("/health").json()["unrecorded"] == 1
    os.close(writer._handle)
    writer._handle = good


def test_two_hundred_idle_connections_do_not_stop_the_others(tiny: Live) -> None:
    port = int(tiny.url.rpartition(":")[2])
    sockets = [socket.create_connection(("127.0.0.1", port)) for _n in range(200)]
    try:
        began = time.monotonic()
        assert tiny.get("/health").status_code == 200
        assert time.monotonic() - began < 5  # 16,384 tokens would take minutes
    finally:
        for connection in sockets:
            connection.close()
