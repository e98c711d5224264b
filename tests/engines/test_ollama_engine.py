"""Ollama behind OpenAI's wire: what it is sent, what comes back, where a stream was cut."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.fake_ollama import FakeOllama, fake_ollama
from tuneloop.engines.echo import Echo
from tuneloop.engines.engine import Engine, Limits, Reply
from tuneloop.engines.ollama_engine import OllamaEngine, completion, request
from tuneloop.errors import EngineDown, EngineError
from tuneloop.records import EngineSpec

FAST = Limits(5, 5, 5)
MODEL = "small:1"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "привет"}], "temperature": 0.5, "max_tokens": 7}


async def ask(engine: Engine, path: str, body: dict[str, Any], *, stream: bool = False) -> Reply:
    try:
        reply = await engine.ask(path, json.dumps(body).encode(), stream=stream, limits=FAST)
        if reply.pieces:
            reply.body = b"".join([piece async for piece in reply.pieces])
        return reply
    finally:
        await engine.close()


def ollama(server: FakeOllama) -> OllamaEngine:
    server.models.setdefault(MODEL, {"files": {}})
    return OllamaEngine(EngineSpec("o", "ollama", server.url))


def events(body: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_chat_is_translated_both_ways() -> None:
    with fake_ollama() as server:
        reply = asyncio.run(ask(ollama(server), "/chat/completions", ASK))
        whole = json.loads(reply.body)
        assert whole["choices"][0]["message"]["role"] == "assistant" and whole["choices"][0]["message"]["content"]
        assert whole["usage"]["prompt_tokens"] == 11 and whole["usage"]["completion_tokens"] == 3
        sent = server.bodies("/api/chat")[0]
        assert sent["options"] == {"temperature": 0.5, "num_predict": 7} and sent["stream"] is False
        assert "temperature" not in sent and "max_tokens" not in sent


def test_a_stream_says_the_same_and_ends_with_done() -> None:
    with fake_ollama() as server:
        whole = json.loads(asyncio.run(ask(ollama(server), "/chat/completions", ASK)).body)
        found = events(asyncio.run(ask(ollama(server), "/chat/completions", ASK, stream=True)).body)
        text = "".join(e["choices"][0]["delta"].get("content", "") for e in found if e["choices"])
        assert text == whole["choices"][0]["message"]["content"]
        assert found[-1]["usage"] == whole["usage"]


def test_a_cut_stream_and_an_error_in_it_are_errors() -> None:
    with fake_ollama() as server:
        server.cut.add("/api/chat")
        with pytest.raises(EngineDown):
            asyncio.run(ask(ollama(server), "/chat/completions", ASK, stream=True))
        server.cut.clear()
        server.broken.add("/api/chat")
        with pytest.raises(EngineError):
            asyncio.run(ask(ollama(server), "/chat/completions", ASK, stream=True))


def test_a_refusal_has_openais_shape() -> None:
    with fake_ollama() as server:
        reply = asyncio.run(ask(ollama(server), "/chat/completions", ASK | {"model": "none"}))
        assert reply.status == 404 and json.loads(reply.body)["error"]["message"]


def test_completions_embeddings_and_the_list() -> None:
    with fake_ollama() as server:
        said = json.loads(asyncio.run(ask(ollama(server), "/completions", {"model": MODEL, "prompt": "раз"})).body)
        assert said["choices"][0]["text"]
        found = json.loads(asyncio.run(ask(ollama(server), "/embeddings", {"model": MODEL, "input": ["a", "b"]})).body)
        assert [item["index"] for item in found["data"]] == [0, 1] and found["data"][0]["embedding"]

        async def listed() -> str:
            engine = ollama(server)
            try:
                return str((await engine.models())[0]["id"])
            finally:
                await engine.close()

        assert asyncio.run(listed()) == MODEL


def test_tools_and_formats_are_in_ollamas_words() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    schema = {"type": "object"}
    sent = request(
        "/chat/completions",
        {
            "model": "m", "tools": [{"type": "function"}], "n_discard": -1,
            "messages": [{"role": "developer", "content": [{"type": "text", "text": "x"}]},
                         {"role": "assistant", "content": None, "tool_calls": [call]}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        },
        stream=False,
    )  # fmt: skip
    assert sent["format"] == schema and sent["tools"] and "n_discard" not in sent
    assert sent["messages"][0] == {"role": "system", "content": "x"}
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    back = completion(
        "/chat/completions", {"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}}, "m"
    )
    assert back["choices"][0]["finish_reason"] == "tool_calls"
    assert json.loads(back["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == {"a": 1}


@settings(deadline=None)
@given(st.text(max_size=80))
def test_an_echo_says_what_it_was_told_whole_and_in_pieces(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    body = {"model": "x", "messages": [{"role": "user", "content": text}]}
    whole = json.loads(asyncio.run(ask(Echo(EngineSpec("e", "echo")), "/chat/completions", body)).body)
    assert whole["choices"][0]["message"]["content"] == text
    found = events(asyncio.run(ask(Echo(EngineSpec("e", "echo")), "/chat/completions", body, stream=True)).body)
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in found if e["choices"]) == text
