"""The exact JSON that our engines send and our gateway answers, by the published APIs of OpenAI and Ollama.

First against exchanges written here after the documentation, field by field; then, where the development data lie
beside the checkout, against the vendors' own OpenAPI documents and against recorded exchanges.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.conftest import shared_data
from tests.engines.exchanges import OLLAMA, OPENAI, Exchange
from tests.engines.upstream import Upstream, upstream
from tests.gateway.live import Live
from tests.gateway.test_exchange import ECHO, gateway

ALL = [("openai", one) for one in OPENAI] + [("ollama", one) for one in OLLAMA]
TOML = """
[engines.{kind}]
kind = "{kind}"
url = "{url}"

[tasks.t.variants.only]
engine = "{kind}"
model = "bees-1"
{parameters}

[tasks.back.variants.only]
engine = "echo"
"""
PARAMETERS = "parameters = {top_p = 0.9}"


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with upstream() as found:
        yield found


@pytest.fixture(scope="module")
def gateways(server: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Live]]:
    def toml(kind: str) -> str:
        url = server.url + ("/v1" if kind == "openai" else "")
        return ECHO + TOML.format(kind=kind, url=url, parameters=PARAMETERS)

    with (
        gateway(tmp_path_factory.mktemp("openai"), toml("openai")) as openai_like,
        gateway(tmp_path_factory.mktemp("ollama"), toml("ollama")) as ollama_like,
    ):
        yield {"openai": openai_like, "ollama": ollama_like}


def exchanged(live: Live, server: Upstream, kind: str, one: Exchange) -> tuple[Any, Any]:
    """(what the engine got, what the client got): the second a list for a stream."""
    server.asked.clear()
    if not isinstance(one.reply, list):
        server.plays(one.reply)
    elif kind == "openai":
        server.plays(sse(one.reply), media="text/event-stream")
    else:
        server.plays("".join(json.dumps(event) + "\n" for event in one.reply), media="application/x-ndjson")
    reply = live.post("/v1" + one.path, {"model": "t"} | one.asked)
    assert reply.status_code == 200, reply.text
    (path, sent), told = server.asked[0], heard(reply)
    assert path == (one.theirs or "/v1" + one.path)
    return sent, told


def sse(events: list[Any]) -> str:
    return "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events) + "data: [DONE]\n\n"


def heard(reply: httpx.Response) -> Any:
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return reply.json()
    *events, end = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(event) for event in events]


def without_ids(told: Any) -> Any:
    if isinstance(told, list):
        assert len({event["id"] for event in told}) == 1, "one answer has one id"
        return [without_ids(event) for event in told]
    return {key: value for key, value in told.items() if key not in ("id", "created")}


@pytest.mark.parametrize(("kind", "one"), ALL, ids=[f"{kind}: {one.name}" for kind, one in ALL])
def test_everybody_says_exactly_what_the_documentation_says(
    gateways: dict[str, Live], server: Upstream, kind: str, one: Exchange
) -> None:
    sent, told = exchanged(gateways[kind], server, kind, one)
    assert sent == one.sent
    assert without_ids(told) == one.told
    first = told[0] if isinstance(told, list) else told
    if one.path != "/embeddings":
        assert first["id"].startswith(("chatcmpl-", "cmpl-")) and "theirs" not in first["id"]
        assert isinstance(first["created"], int)


def test_what_an_engine_refuses_is_told_in_openais_shape(gateways: dict[str, Live], server: Upstream) -> None:
    for kind, body in (
        ("openai", {"error": {"message": "no bees", "type": "invalid_request_error", "param": "n", "code": None}}),
        ("ollama", {"error": "no bees"}),
    ):
        server.plays(body, status=400)
        reply = gateways[kind].post("/v1/chat/completions", {"model": "t", "messages": OPENAI[0].asked["messages"]})
        assert reply.status_code == 400 and reply.json()["error"]["message"] == "no bees"
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


# --- the vendors' own documents


@cache
def document(vendor: str) -> dict[str, Any]:
    import yaml

    with zipfile.ZipFile(shared_data("api_specs.zip")) as archive:
        if vendor == "openai":
            return dict(with_nulls(json.loads(archive.read("openai/openapi.json"))))
        return dict(yaml.safe_load(archive.read("ollama/docs/openapi.yaml")))


def with_nulls(schema: Any) -> Any:
    """ "nullable", which OpenAPI 3.0 had and JSON Schema does not know, in JSON Schema's words."""
    if isinstance(schema, list):
        return [with_nulls(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: with_nulls(value) for key, value in schema.items()}
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") is True else found


@cache
def schema(vendor: str, name: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": document(vendor)["components"]}
    )


REQUESTS = {
    "/v1/chat/completions": ("openai", "CreateChatCompletionRequest"),
    "/v1/completions": ("openai", "CreateCompletionRequest"),
    "/v1/embeddings": ("openai", "CreateEmbeddingRequest"),
    "/api/chat": ("ollama", "ChatRequest"),
    "/api/generate": ("ollama", "GenerateRequest"),
    "/api/embed": ("ollama", "EmbedRequest"),
}
REPLIES = {
    "/chat/completions": "CreateChatCompletionResponse",
    "/completions": "CreateCompletionResponse",
    "/embeddings": "CreateEmbeddingResponse",
}
EVENT = "CreateChatCompletionStreamResponse"


@pytest.mark.parametrize(("kind", "one"), ALL, ids=[f"{kind}: {one.name}" for kind, one in ALL])
def test_requests_and_replies_fit_the_published_schemas(
    gateways: dict[str, Live], server: Upstream, kind: str, one: Exchange
) -> None:
    document(kind)
    sent, told = exchanged(gateways[kind], server, kind, one)
    vendor, name = REQUESTS[one.theirs or "/v1" + one.path]
    if one.name not in ("vectors", "the older API") or kind == "ollama":  # our test's top_p is no field of these
        schema(vendor, name).validate(sent)
    if isinstance(told, list):
        for event in told:
            schema("openai", EVENT).validate(event)
    else:
        schema("openai", REPLIES[one.path]).validate(told)


@pytest.mark.parametrize("stream", [False, True])
def test_the_echo_keeps_the_same_contract(gateways: dict[str, Live], stream: bool) -> None:
    document("openai")
    asked = {"model": "back", "messages": OPENAI[0].asked["messages"], "stream": stream}
    told = heard(gateways["openai"].post("/v1/chat/completions", asked))
    for one in told if stream else [told]:
        schema("openai", EVENT if stream else REPLIES["/chat/completions"]).validate(one)


def test_lists_and_errors_fit_too(gateways: dict[str, Live], server: Upstream) -> None:
    document("openai")
    live = gateways["openai"]
    schema("openai", "ListModelsResponse").validate(live.get("/v1/models").json())
    schema("openai", "Model").validate(live.get("/v1/models/t").json())
    refusals = [
        live.get("/v1/models/none"), live.post("/v1/chat/completions", {"model": "none", "messages": [{}]}),
        live.post("/v1/chat/completions", {"model": "t"}), live.get("/nowhere"), live.post("/feedback", {}),
    ]  # fmt: skip
    for reply in refusals:
        assert 400 <= reply.status_code < 500
        schema("openai", "ErrorResponse").validate(reply.json())


# --- recorded exchanges


def recordings() -> list[tuple[str, Any, bool, bytes]]:
    """(name, request, streamed, reply) of every recorded chat completion."""
    import yaml

    found = []
    with zipfile.ZipFile(shared_data("api_specs.zip")) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".yaml") and "cassettes/" in n):
            for n, one in enumerate(yaml.safe_load(archive.read(name))["interactions"]):
                if not one["request"]["uri"].endswith("/chat/completions"):
                    continue
                asked = one["request"].get("parsed_body") or json.loads(one["request"]["body"])
                reply = one["response"].get("parsed_body") or one["response"]["body"]["string"]
                data = reply if isinstance(reply, bytes) else _written(reply).encode()
                data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
                found.append((f"{Path(name).stem}/{n}", asked, bool(asked.get("stream")), data))
    return found


def _written(reply: Any) -> str:
    return reply if isinstance(reply, str) else json.dumps(reply)


def test_recorded_exchanges_pass_through_unchanged(gateways: dict[str, Live], server: Upstream) -> None:
    """What real clients asked real servers: the engine gets the same fields, the client the same answer."""
    live, checked = gateways["openai"], 0
    for name, asked, stream, reply in recordings():
        server.asked.clear()
        server.plays(reply, media="text/event-stream" if stream else "application/json")
        answered = live.post("/v1/chat/completions", asked | {"model": "t"})
        assert answered.status_code == 200, f"{name}: {answered.text}"
        _path, sent = server.asked[0]
        assert sent == {"top_p": 0.9} | asked | {"model": "bees-1"}, name
        if stream:
            theirs = [json.loads(line[6:]) for line in reply.decode().split("\n") if line.startswith("data: {")]
            assert merged(heard(answered)) == merged(theirs), name
        else:
            assert without_ids(answered.json()) == without_ids(json.loads(reply)), name
        row = live.rows(1)[0]
        assert row.status == "ok" and row.tokens_out > 0, f"{name}: what it cost is known"
        checked += 1
    assert checked >= 13


def merged(events: list[Any]) -> dict[str, Any]:
    """What a stream comes to: its text, its calls, why it ended, its counts."""
    said: dict[str, Any] = {"text": "", "calls": {}, "finish": None, "usage": None}
    for event in events:
        said["usage"] = event.get("usage") or said["usage"]
        for choice in event["choices"]:
            said["text"] += choice["delta"].get("content") or ""
            said["finish"] = choice.get("finish_reason") or said["finish"]
            for call in choice["delta"].get("tool_calls") or ():
                known = said["calls"].setdefault(call["index"], ["", "", ""])
                function = call.get("function") or {}
                known[0] += call.get("id") or ""
                known[1] += function.get("name") or ""
                known[2] += function.get("arguments") or ""
    return said


def test_the_official_client_hears_recorded_streams_as_they_were(gateways: dict[str, Live], server: Upstream) -> None:
    streamed = [one for one in recordings() if one[2]]
    with openai.OpenAI(base_url=gateways["openai"].url + "/v1", api_key="none", max_retries=0) as client:
        for name, asked, _stream, reply in streamed:
            server.plays(reply, media="text/event-stream")
            with client.chat.completions.create(**(asked | {"model": "t"})) as stream:
                events = [event.model_dump(exclude_unset=True) for event in stream]
            theirs = [json.loads(line[6:]) for line in reply.decode().split("\n") if line.startswith("data: {")]
            assert merged(events) == merged(theirs), name
