"""The Ollama client against a real HTTP server, and its requests against Ollama's published specification."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.conftest import shared_data
from tests.engines.fake_ollama import FakeOllama, fake_ollama
from tuneloop.engines.ollama import Ollama, library, name, tagged
from tuneloop.errors import BadInput, EngineDown, EngineError, EngineTimeout, Missing, OutOfResources, TuneloopError

Result = TypeVar("Result")
HELLO = [{"role": "user", "content": "привет"}]


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with fake_ollama() as running:
        yield running


def run(url: str, use: Callable[[Ollama], Awaitable[Result]], timeout: float = 5.0) -> Result:
    async def inside() -> Result:
        async with Ollama(url, timeout=timeout) as client:
            return await use(client)

    return asyncio.run(inside())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(range(256)) * 20_000)  # five pieces
    return path


def _created(server: FakeOllama, model: Path, **more: Any) -> list[tuple[str, float, float | None]]:
    seen: list[tuple[str, float, float | None]] = []
    files = {"model.gguf": model}
    run(server.url, lambda c: c.create("answers:1", files, watch=lambda *a: seen.append(a), **more))
    return seen


def test_a_model_is_created_from_a_file(server: FakeOllama, model: Path) -> None:
    seen = _created(server, model, template="{{ .Prompt }}", system="Be kind.", parameters={"stop": ["<|im_end|>"]})
    digest = "sha256:" + hashlib.sha256(model.read_bytes()).hexdigest()
    assert server.bodies("/api/create") == [
        {
            "model": "answers:1",
            "files": {"model.gguf": digest},
            "stream": True,
            "template": "{{ .Prompt }}",
            "system": "Be kind.",
            "parameters": {"stop": ["<|im_end|>"]},
        }
    ]
    assert server.blobs[digest] == model.read_bytes()
    stages = [stage for stage, _done, _total in seen]
    assert stages[0] == "upload to Ollama" and stages[-1] == "Ollama: success"
    uploads = [(d, t) for s, d, t in seen if s == "upload to Ollama"]
    assert uploads[-1] == (model.stat().st_size, model.stat().st_size)
    assert len(uploads) == 5


def test_a_model_is_created_of_another(server: FakeOllama, model: Path) -> None:
    _created(server, model)
    run(server.url, lambda c: c.create("mario", {}, source="answers:1", system="You are Mario."))
    asked = {"model": "mario", "from": "answers:1", "stream": True, "system": "You are Mario."}
    assert server.bodies("/api/create")[-1] == asked
    with pytest.raises(Missing, match="nobody"):
        run(server.url, lambda c: c.create("luigi", {}, source="nobody"))
    for files, source in (({}, ""), ({"m.gguf": model}, "answers:1")):
        with pytest.raises(BadInput, match="a file or of another model"):
            run(server.url, lambda c, f=files, s=source: c.create("x", f, source=s))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("model", "full", "host"),
    [("bees", "bees:latest", ""), ("bees:7b", "bees:7b", ""), ("ns/bees", "ns/bees:latest", ""),
     ("hf.co/ns/bees", "hf.co/ns/bees:latest", "hf.co"), ("h:5000/ns/bees:q4", "h:5000/ns/bees:q4", "h:5000"),
     ("h:5000/bees", "h:5000/bees:latest", "h:5000")],
)  # fmt: skip
def test_names_have_a_tag_and_perhaps_a_host(model: str, full: str, host: str) -> None:
    assert (tagged(model), library(model)) == (full, host)


def test_a_blob_that_is_there_is_not_sent_again(server: FakeOllama, model: Path) -> None:
    _created(server, model)
    _created(server, model)
    sent = [r for r in server.requests if r[0] == "POST" and r[1].startswith("/api/blobs/")]
    assert len(sent) == 1


def test_listing_showing_copying_deleting(server: FakeOllama, model: Path) -> None:
    _created(server, model, template="T")

    async def use(client: Ollama) -> tuple[Any, ...]:
        await client.copy("answers:1", "answers:2")
        found = [m["name"] for m in await client.tags()]
        shown = (await client.show("answers:2"))["template"]
        await client.delete("answers:2")
        return found, shown, [m["name"] for m in await client.tags()], await client.running(), await client.version()

    assert run(server.url, use) == (["answers:1", "answers:2"], "T", ["answers:1"], [], "0.13.5")


def test_answers_whole_and_in_pieces(server: FakeOllama, model: Path) -> None:
    _created(server, model)

    async def use(client: Ollama) -> tuple[Any, ...]:
        chat = await client.chat("answers:1", HELLO, options={"temperature": 0})
        pieces = [e async for e in client.chat_stream("answers:1", HELLO)]
        done = await client.generate("answers:1", "why", raw=True)
        parts = [e["response"] async for e in client.generate_stream("answers:1", "why")]
        return chat, pieces, done, parts, await client.embed("answers:1", ["a", "bcd"])

    chat, pieces, done, parts, vectors = run(server.url, use)
    assert chat["message"]["content"] == "You said: привет"
    assert "".join(e["message"]["content"] for e in pieces) == "You said: привет"
    assert pieces[-1]["done"] is True and pieces[-1]["eval_count"] == 3
    assert done["response"] == "".join(parts) == "You said: why"
    assert vectors == [[1.0, 0.5], [3.0, 0.5]]
    assert server.bodies("/api/chat")[0] == {
        "model": "answers:1",
        "messages": HELLO,
        "stream": False,
        "options": {"temperature": 0},
    }


def test_a_pull_ends_when_what_is_announced_has_no_room(server: FakeOllama) -> None:
    asked = []

    def room(needed: int) -> None:
        asked.append(needed)
        raise OutOfResources("no room")

    with pytest.raises(OutOfResources):
        run(server.url, lambda c: c.pull("qwen3", room=room))
    assert asked == [90], "100 announced, 10 of them there already"
    run(server.url, lambda c: c.pull("qwen3", room=asked.append))
    assert asked == [90, 90]


def test_pull_shows_progress_and_says_why_it_failed(server: FakeOllama) -> None:
    seen: list[tuple[str, float, float | None]] = []
    run(server.url, lambda c: c.pull("qwen3", watch=lambda *a: seen.append(a)))
    assert ("Ollama: pulling", 100, 100) in seen
    with pytest.raises(EngineError, match="does not exist"):
        run(server.url, lambda c: c.pull("no-such-model"))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, EngineError, "invalid model name"),
        (404, Missing, "not found"),
        (429, EngineError, "too many"),
        (500, EngineError, "llama runner process has terminated"),
        (502, EngineError, "bad gateway"),
    ],
)
def test_statuses_become_errors_with_the_servers_words(
    server: FakeOllama, status: int, kind: type[TuneloopError], words: str
) -> None:
    server.fail["/api/chat"] = (status, words)
    with pytest.raises(kind, match=words) as caught:
        run(server.url, lambda c: c.chat("answers:1", HELLO))
    assert caught.value.fix


def test_errors_in_the_middle_of_a_stream(server: FakeOllama, model: Path) -> None:
    _created(server, model)

    async def read(client: Ollama) -> list[Any]:
        return [e async for e in client.chat_stream("answers:1", HELLO)]

    server.broken.add("/api/chat")
    with pytest.raises(EngineError, match="error was encountered"):
        run(server.url, read)
    server.broken.clear()
    server.cut.add("/api/chat")
    with pytest.raises(EngineError, match="in the middle"):
        run(server.url, read)
    server.cut.add("/api/create")
    with pytest.raises(EngineError, match="'parsing GGUF'"):
        _created(server, model)


def test_unknown_model_and_refused_file(server: FakeOllama, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not found"):
        run(server.url, lambda c: c.show("no-such"))
    (tmp_path / "x.gguf").write_bytes(b"no model")
    with pytest.raises(EngineError, match="unsupported content type"):
        run(server.url, lambda c: c.create("x", {"x.gguf": tmp_path / "x.gguf"}))


def test_nobody_there_too_slow_and_somebody_else(server: FakeOllama) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(EngineDown, match="does not answer") as caught:
        run(url, lambda c: c.version())
    assert "ollama serve" in caught.value.fix
    server.slow["/api/tags"] = 0.5
    with pytest.raises(EngineTimeout, match="in time"):
        run(server.url, lambda c: c.tags(), timeout=0.1)
    server.fail["/api/version"] = (404, "a web server")
    with pytest.raises(EngineDown, match="not Ollama"):
        run(server.url, lambda c: c.version())
    with pytest.raises(EngineDown):
        run("http://[bad", lambda c: c.version())


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:abc", "sha256:" + "A" * 64, "sha256:../../etc", "sha256:" + "a" * 64 + "\n", "md5:" + "a" * 64],
)
def test_digests_are_checked_before_they_enter_an_address(server: FakeOllama, digest: str) -> None:
    with pytest.raises(BadInput, match="digest"):
        run(server.url, lambda c: c.has_blob(digest))
    assert server.requests == []


@pytest.mark.parametrize(
    "good", ["llama3", "llama3:70b", "me/model:tag-1.0", "host.example:5000/me/model:q4_K_M", "a.b"]
)
def test_names_ollama_takes(good: str) -> None:
    assert name(good) == good


@pytest.mark.parametrize("bad", ["", "a b", "модель", "../x", "a:b:c:", "a\n", "x" * 200, ":tag", "a//b", "-a"])
def test_names_it_does_not_take(bad: str) -> None:
    with pytest.raises(BadInput, match="no name"):
        name(bad)


def _specification() -> dict[str, Any]:
    import yaml

    with zipfile.ZipFile(shared_data("api_specs.zip")) as archive:
        path = next(n for n in archive.namelist() if n.endswith("ollama/docs/openapi.yaml"))
        return dict(yaml.safe_load(archive.read(path)))


def _validator(specification: dict[str, Any], schema: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{schema}", "components": specification["components"]}
    )


def test_requests_and_replies_follow_the_published_specification(server: FakeOllama, model: Path) -> None:
    """Every body we send fits Ollama's schema, and so does every body the stand-in answers: it is no easier judge."""
    specification = _specification()
    _created(server, model, template="T", system="S", parameters={"temperature": 0.3, "stop": ["x"]}, licence="MIT")

    async def use(client: Ollama) -> list[tuple[str, Any]]:
        replies = [("ChatResponse", await client.chat("answers:1", HELLO, options={"temperature": 0}, think=False))]
        replies += [("ChatStreamEvent", e) async for e in client.chat_stream("answers:1", HELLO, keep_alive="5m")]
        replies.append(("GenerateResponse", await client.generate("answers:1", "why", format="json")))
        replies += [("GenerateStreamEvent", e) async for e in client.generate_stream("answers:1", "why")]
        await client.embed("answers:1", ["a"])
        replies += [("ModelSummary", m) for m in await client.tags()]
        replies.append(("ShowResponse", await client.show("answers:1")))
        await client.pull("other")
        await client.copy("other", "third")
        await client.delete("third")
        return replies

    for schema, reply in run(server.url, use):
        _validator(specification, schema).validate(reply)
    schemas = {
        "/api/create": "CreateRequest",
        "/api/chat": "ChatRequest",
        "/api/generate": "GenerateRequest",
        "/api/embed": "EmbedRequest",
        "/api/show": "ShowRequest",
        "/api/pull": "PullRequest",
        "/api/copy": "CopyRequest",
        "/api/delete": "DeleteRequest",
    }
    checked = 0
    for _method, path, body in server.requests:
        if path in schemas:
            _validator(specification, schemas[path]).validate(body)
            documented = set(specification["components"]["schemas"][schemas[path]]["properties"]) | {"files"}
            assert set(body) <= documented, f"{path}: {json.dumps(sorted(set(body) - documented))}"
            checked += 1
    assert checked >= 10
    paths = {p for _m, p, _b in server.requests if not p.startswith("/api/blobs/")}
    assert paths <= set(specification["paths"])
