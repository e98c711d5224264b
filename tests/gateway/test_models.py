"""Models over HTTP: listed with their last use, pulled with progress, kept while anything needs them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.answer.test_models import file_server, here
from tests.engines.fake_ollama import FakeOllama, fake_ollama
from tests.engines.tiny import write_tiny
from tests.gateway.live import Live, until
from tests.gateway.test_exchange import ECHO, gateway
from tuneloop import machine
from tuneloop.access import keys
from tuneloop.answer import models as store
from tuneloop.ask import gold, trials
from tuneloop.ask.trials import Row

TASK = """
[models]
allowed_hosts = "files.lan"

[tasks.t]
route = "fixed"

[tasks.t.variants.own]
engine = "ollama"
model = "bees"

[tasks.t.variants.echo]
engine = "echo"
"""


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with fake_ollama() as found:
        found.models |= {"bees:latest": {}, "bees": {}, "wasps:latest": {}}
        yield found


@pytest.fixture
def live(tmp_path: Path, ollama: FakeOllama) -> Iterator[Live]:
    engines = f'\n[engines.ollama]\nkind = "ollama"\nurl = "{ollama.url}"\n'
    engines += (
        '[engines.gone]\nurl = "http://127.0.0.1:1/v1"\n[engines.keyless]\nurl = "http://h/v1"\nkey_env = "NO_KEY"\n'
    )
    with gateway(tmp_path, ECHO + engines + TASK) as found:
        yield found


def streamed(live: Live, path: str, body: Any) -> list[dict[str, Any]]:
    reply = live.post(path, body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, end = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert end == "[DONE]"
    return [json.loads(event) for event in events]


def test_what_there_is_and_when_it_was_used(live: Live) -> None:
    write_tiny(live.workspace.folder("models") / "a.gguf")
    assert live.post("/v1/chat/completions", {"model": "t", "messages": [{"role": "user", "content": "x"}]}).is_success
    live.rows(1)
    found = live.get("/models").json()
    by_name = {(one["engine"], one["id"]): one for one in found["data"]}
    bees = by_name["ollama", "bees:latest"]
    assert bees["used"] and bees["size"] == 1 and (bees["family"], bees["quantisation"]) == ("llama", "Q4_0")
    assert bees["needed_by"] == "the variant t/own"
    assert by_name["ollama", "wasps:latest"]["used"] is None and not by_name["ollama", "wasps:latest"]["needed_by"]
    file = by_name["", "a.gguf"]
    assert file["family"] == "llama" and file["size"] > 1000 and "path" not in file
    assert set(found["unreachable"]) == {"gone", "keyless"} and "NO_KEY" in found["unreachable"]["keyless"]


def test_what_is_in_memory(live: Live, ollama: FakeOllama) -> None:
    assert live.get("/models/running").json() == {"data": [], "unreachable": {}}
    ollama.loaded.add("bees:latest")
    (one,) = live.get("/models/running").json()["data"]
    assert (one["engine"], one["id"], one["quantisation"], one["context"]) == ("ollama", "bees:latest", "Q4_K_M", 4096)
    assert one["size"] > one["gpu"] > 0 and one["expires"]
    ollama.fail["/api/ps"] = (500, "oops")
    assert "oops" in live.get("/models/running").json()["unreachable"]["ollama"]


def test_what_was_tried_on_this_machine(live: Live) -> None:
    assert live.get("/models/trials").json() == {"data": [], "best": None}
    known = Row("far", "m", machine.name(), "openai", "done", 1.0, gold.edition(), 16, asked=16, right=15, wrong=1)
    for row in (known, replace(known, model="worse", right=3), replace(known, machine="another")):
        trials.keep(live.workspace, row)
    told = live.get("/models/trials").json()
    assert [(one["model"], one["said"]) for one in told["data"]] == [("m", "good"), ("worse", "too often wrong")]
    assert told["best"]["model"] == "m"
    assert "/models/trials" in live.get("/ask").text


def test_a_pull_that_does_not_fit_ends_with_why(live: Live, ollama: FakeOllama) -> None:
    ollama.bytes = 1 << 60
    assert "the download needs" in live.post("/models/pull", {"name": "vast"}).text
    assert "vast" not in ollama.models


def test_a_pull_tells_its_progress(live: Live, ollama: FakeOllama) -> None:
    events = streamed(live, "/models/pull", {"name": "hornets"})
    assert events[-1] == {"status": "success", "name": "hornets", "engine": "ollama"}
    assert {"status": "Ollama: pulling", "done": 100, "total": 100} in events
    assert "hornets" in ollama.models


def test_a_pull_that_breaks_says_so_at_its_end(live: Live, ollama: FakeOllama) -> None:
    events = streamed(live, "/models/pull", {"name": "no-such"})
    assert events[0]["status"] and "file does not exist" in events[-1]["error"]["message"]
    ollama.cut.add("/api/pull")
    assert "not with success" in streamed(live, "/models/pull", {"name": "hornets"})[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x", "engine": "none"}, 404), ({"name": "x", "engine": "echo"}, 404), ({}, 400),
        ({"name": "x", "url": "https://h/a.gguf"}, 400), ({"name": "10.0.0.1/ns/x"}, 403), ({"name": "../x"}, 400),
        ({"url": "http://127.0.0.1/a.gguf"}, 403), ({"url": "file:///etc/passwd.gguf"}, 400),
        ({"url": "https://h/a.bin"}, 400), ({"url": "https://h/a.gguf", "sha256": "xyz"}, 400),
    ],
)  # fmt: skip
def test_what_cannot_begin_is_an_ordinary_error(live: Live, ollama: FakeOllama, body: Any, status: int) -> None:
    assert live.post("/models/pull", body).status_code == status
    assert ollama.bodies("/api/pull") == []


def test_a_file_is_downloaded_with_progress(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store.fetch.__kwdefaults__, "resolver", here)
    data = write_tiny(tmp_path / "source.gguf").read_bytes()
    with file_server() as server:
        server.content["/a.gguf"], body = data, {"url": server.url + "/a.gguf"}
        events = streamed(live, "/models/pull", body)
        assert live.post("/models/pull", body).status_code == 409
    assert events[-1] == {"status": "success", "name": "a.gguf", "bytes": len(data)}
    assert events[0]["total"] == len(data)
    assert live.get("/models").json()["data"][0]["id"] == "a.gguf"
    assert httpx.delete(live.url + "/models/a.gguf", trust_env=False).json()["bytes"] == len(data)
    assert httpx.delete(live.url + "/models/a.gguf", trust_env=False).status_code == 404


def test_a_client_that_leaves_ends_the_pull(live: Live, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()

    async def endless(self: Any, model: str, *, watch: Any, room: Any) -> None:
        import asyncio

        try:
            while True:
                watch("pulling", 1, None)
                await asyncio.sleep(0.15)
        finally:
            left.set()

    monkeypatch.setattr("tuneloop.engines.ollama.Ollama.pull", endless)
    with httpx.stream("POST", live.url + "/models/pull", json={"name": "x"}, trust_env=False, timeout=10) as reply:
        assert next(reply.iter_lines()).startswith("data: ")
    until(left.is_set, 10)


def test_created_copied_and_removed(live: Live, ollama: FakeOllama) -> None:
    body = {"name": "mild", "source": "wasps:latest", "system": "Be kind.", "parameters": {"temperature": 0.2}}
    assert streamed(live, "/models/create", body)[-1]["status"] == "success"
    made = ollama.bodies("/api/create")[-1]
    assert (made["from"], made["system"], made["parameters"]) == ("wasps:latest", "Be kind.", {"temperature": 0.2})
    write_tiny(live.workspace.folder("models") / "a.gguf")
    assert streamed(live, "/models/create", {"name": "ours", "file": "a.gguf"})[-1]["status"] == "success"
    assert live.post("/models/create", {"name": "x", "file": "none.gguf"}).status_code == 404
    assert live.post("/models/create", {"name": "x"}).status_code == 400
    assert live.post("/models/create", {"name": "x", "source": "nobody"}).status_code == 404
    assert live.post("/models/copy", {"source": "ours", "destination": "ours2"}).json()["name"] == "ours2"
    assert live.post("/models/copy", {"source": "none", "destination": "y"}).status_code == 404
    assert httpx.delete(live.url + "/models/ours2?engine=ollama", trust_env=False).json()["removed"] == "ours2"
    assert "ours2" not in ollama.models


def test_what_is_needed_is_not_removed(live: Live, ollama: FakeOllama) -> None:
    def remove(path: str) -> httpx.Response:
        return httpx.delete(live.url + path, trust_env=False, timeout=10)

    reply = remove("/models/bees:latest?engine=ollama")
    assert reply.status_code == 409 and "t/own" in reply.json()["error"]["message"]
    design = {"name": "tone", "task": "t", "arms": {"a": "echo", "b": "own"}}
    assert live.post("/experiments", design).status_code == 200
    for path in ("/models/bees?engine=ollama", "/tasks/t/variants/own", "/tasks/t"):
        reply = remove(path)
        assert reply.status_code == 409 and "tone" in reply.json()["error"]["message"], reply.text
    assert "bees" in ollama.models and live.get("/tasks/t").status_code == 200
    assert live.post("/experiments/tone/stop", {}).status_code == 200
    assert remove("/tasks/t/variants/own").status_code == 200
    assert remove("/models/bees?engine=ollama").status_code == 200
    assert remove("/models/bees?engine=ollama").status_code == 404


def test_who_may(live: Live) -> None:
    def bearer(**more: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {keys.create(live.workspace, **more)[1]}"}

    team, user, admin = (
        bearer(name=name, role=role, tenant=tenant)
        for name, role, tenant in (("t", "admin", "red"), ("u", "user", ""), ("a", "admin", ""))
    )
    for headers, status in ((team, 403), (user, 403), (admin, 200)):
        assert live.post("/models/pull", {"name": "hornets"}, headers=headers).status_code == status
    assert live.get("/models").status_code == 401
    seen = {one["id"]: one["needed_by"] for one in live.get("/models", headers=team).json()["data"]}
    assert seen["bees:latest"] == "it is in use"
