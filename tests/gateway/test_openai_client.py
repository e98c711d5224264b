"""The official client, unchanged, over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway.live import Live, tiny_server
from tuneloop import journal

ASKED: dict[str, Any] = {
    "model": "active",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 5,
    "logit_bias": {"2": -100},
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with tiny_server(tmp_path_factory.mktemp("live")) as live:
        yield live


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=live.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_whole_answer(client: openai.OpenAI, live: Live) -> None:
    reply = client.chat.completions.create(**ASKED, temperature=0, seed=7)
    assert reply.usage
    assert reply.usage.completion_tokens == 5
    assert reply.choices[0].finish_reason == "length"
    (row,) = [c for c in live.rows(1) if c.id == reply.id]
    assert (row.status, row.tokens_in, row.tokens_out) == ("ok", reply.usage.prompt_tokens, 5)
    assert row.answer == reply.choices[0].message.content
    assert row.version == "file:tiny.gguf"
    assert row.request["messages"] == ASKED["messages"]


def test_stream_says_the_same_as_the_whole(client: openai.OpenAI, live: Live) -> None:
    whole = client.chat.completions.create(**ASKED, temperature=0)
    with client.chat.completions.create(
        **ASKED, temperature=0, stream=True, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
    said = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
    assert said == whole.choices[0].message.content
    assert len({e.id for e in events}) == 1
    assert events[-1].usage
    assert events[-1].usage.completion_tokens == 5
    row = next(c for c in live.rows(2) if c.id == events[0].id)
    assert (row.status, row.tokens_out, row.answer) == ("ok", 5, said)


def test_stream_without_usage_has_none(client: openai.OpenAI) -> None:
    with client.chat.completions.create(**ASKED, stream=True) as stream:
        events = list(stream)
    assert all(e.choices and e.usage is None for e in events)
    assert events[-1].choices[0].finish_reason == "length"


def test_async_client_whole_and_streamed(live: Live) -> None:
    async def ask() -> list[object]:
        async with openai.AsyncOpenAI(base_url=live.url + "/v1", api_key="none", max_retries=0) as client:
            replies = await asyncio.gather(*(client.chat.completions.create(**ASKED) for _n in range(6)))
            async with await client.chat.completions.create(**ASKED, stream=True) as stream:
                pieces = [event async for event in stream]
        return [*(r.usage.completion_tokens for r in replies if r.usage), pieces[-1].choices[0].finish_reason]

    assert asyncio.run(ask()) == [5] * 6 + ["length"]


def test_choices_stop_words_and_probabilities(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        **ASKED, n=2, stop=["e", "t"], logprobs=True, top_logprobs=3, presence_penalty=0.5
    )
    assert len(reply.choices) == 2
    assert reply.choices[0].logprobs
    assert len(reply.choices[0].logprobs.content[0].top_logprobs) == 3  # type: ignore[index]
    assert "e" not in (reply.choices[0].message.content or "")


def test_tools_are_passed_on_and_a_called_one_comes_back(client: openai.OpenAI, live: Live) -> None:
    tool: Any = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    messages: Any = [
        *ASKED["messages"],
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    reply = client.chat.completions.create(model="active", max_tokens=4, messages=messages, tools=[tool])
    journal.settle(live.workspace)
    row = next(c for c in live.rows(1) if c.id == reply.id)
    assert row.request["tools"][0]["function"]["name"] == "weather"
    assert row.request["messages"][1]["tool_calls"][0]["id"] == "c1"


def test_json_schema_is_obeyed(client: openai.OpenAI) -> None:
    schema: Any = {
        "type": "json_schema",
        "json_schema": {
            "name": "n",
            "schema": {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]},
        },
    }
    reply = client.chat.completions.create(**(ASKED | {"max_tokens": 100}), response_format=schema)
    assert (reply.choices[0].message.content or "").lstrip().startswith("{")


def test_parts_and_developer_are_understood(client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "developer", "content": "be short"},
        {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
    ]
    assert client.chat.completions.create(model="tuneloop", messages=messages, max_tokens=2).choices


def test_more_tokens_than_the_window_is_the_window(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**(ASKED | {"max_tokens": 1_000_000}))
    assert reply.usage
    assert reply.usage.total_tokens <= 512


def test_models(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == [
        "active",
        "chat",
        "chat/active",
        "file:tiny.gguf",
        "tiny",
        "tuneloop",
    ]
    assert client.models.retrieve("tiny").owned_by == "tuneloop"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("change", "kind", "code", "param"),
    [
        ({"model": "gpt-9"}, openai.NotFoundError, "model_not_found", "model"),
        ({"messages": []}, openai.BadRequestError, "invalid_value", "messages"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_value", "temperature"),
        ({"max_tokens": -1}, openai.BadRequestError, "invalid_value", "max_tokens"),
        ({"top_logprobs": 2}, openai.BadRequestError, "invalid_value", None),
        (
            {"messages": [{"role": "user", "content": "x" * 5000}]},
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            openai.BadRequestError,
            "invalid_value",
            None,
        ),
        ({"n": 9}, openai.BadRequestError, "invalid_value", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_openais_shape(
    client: openai.OpenAI,
    change: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str,
    param: str | None,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**(ASKED | change), stream=stream)
    assert caught.value.code == code
    assert caught.value.type == "invalid_request_error"
    if param is not None:
        assert caught.value.param == param


def test_fields_of_openai_we_have_no_use_for_are_ignored(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASKED, metadata={"a": "b"}, store=True, service_tier="auto")
    assert reply.choices
