"""Streams as they pass through: what the client gets, what is counted, what counts as cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.errors import EngineError
from tuneloop.gateway.relay import Relay


class Parts:
    def __init__(self, parts: list[bytes]) -> None:
        self.parts = iter(parts)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for part in self.parts:
            return part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        return


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps({"id": "chatcmpl-theirs", **fields}, ensure_ascii=False).encode() + b"\n\n"


def delta(text: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"


def relayed(parts: list[bytes], *, show_usage: bool = False) -> tuple[Relay, bytes]:
    relay = Relay("chatcmpl-ours", show_usage=show_usage)

    async def scene() -> bytes:
        return b"".join([events async for events in relay.events(Parts(parts))])

    return relay, asyncio.run(scene())


def test_text_counts_and_our_id() -> None:
    relay, sent = relayed([delta("При"), delta("вет"), USAGE, DONE])
    assert (relay.answer, relay.tokens, relay.done) == ("Привет", (7, 3), True)
    assert b"theirs" not in sent and sent.count(b"chatcmpl-ours") == 2
    assert b"[DONE]" not in sent  # it is sent when the row is written


def test_usage_is_shown_to_who_asked_for_it() -> None:
    assert b"prompt_tokens" not in relayed([delta("a"), USAGE, DONE])[1]
    assert b"prompt_tokens" in relayed([delta("a"), USAGE, DONE], show_usage=True)[1]


@pytest.mark.parametrize("end", [[], [b'data: {"choi'], [delta("b")[:-1]]])
def test_without_done_it_is_cut_and_what_was_heard_is_known(end: list[bytes]) -> None:
    relay, _sent = relayed([delta("a"), *end])
    assert not relay.done
    assert relay.answer.startswith("a") and relay.tokens[1] >= 1


def test_nothing_after_done_is_passed_on() -> None:
    relay, sent = relayed([delta("a") + DONE + delta("somebody else's")])
    assert relay.answer == "a" and b"else" not in sent


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"error": {"message": "out of memory"}}\n\n',
        b'error: {"code": 500, "message": "out of memory"}\n\n',
        b"data: {broken\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_an_error_inside_the_stream_is_an_error(bad: bytes) -> None:
    with pytest.raises(EngineError):
        relayed([delta("a"), bad])


def test_a_line_without_end_is_given_up() -> None:
    with pytest.raises(EngineError, match="without an end"):
        relayed([b"data: " + b"x" * 100_000 for _part in range(12)])


def test_tool_calls_are_joined() -> None:
    def tool(**function: str) -> bytes:
        return event(choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": function}]}}])

    relay, _sent = relayed([tool(name="search", arguments='{"q"'), tool(arguments=': "x"}'), DONE])
    assert json.loads(relay.answer) == [{"name": "search", "arguments": '{"q": "x"}'}]


def test_comments_and_other_fields_are_left_out() -> None:
    _relay, sent = relayed([b": ping\n\n", b"event: message\n", b"retry: 3\n\n", delta("a"), DONE])
    assert sent.startswith(b"data: ") and b"ping" not in sent


@given(st.lists(st.text(max_size=20), max_size=20), st.lists(st.integers(1, 60), min_size=1, max_size=50))
def test_any_cut_of_the_bytes_gives_the_same_events(texts: list[str], sizes: list[int]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    whole = b"".join(map(delta, texts)) + USAGE + DONE
    parts, start = [], 0
    while start < len(whole):
        size = sizes[len(parts) % len(sizes)]
        parts.append(whole[start : start + size])
        start += size
    relay, sent = relayed(parts)
    assert relay.answer == "".join(texts)
    assert relay.done
    assert sent == relayed([whole])[1]
    for line in sent.split(b"\n\n")[:-1]:
        json.loads(line.removeprefix(b"data: "))
