"""`tuneloop models` with a server that speaks Ollama's API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engines.fake_ollama import FakeOllama, fake_ollama
from tests.engines.tiny import write_tiny
from tuneloop.workspace import Workspace, write_atomically

Command = Callable[..., subprocess.CompletedProcess[str]]
TOML = """
[engines.ollama]
kind = "ollama"
url = "{url}"

[engines.far]
url = "http://h/v1"
key_env = "NO_SUCH_KEY"

[tasks.t.variants.own]
engine = "ollama"
model = "bees"
"""


@pytest.fixture
def ollama(workspace: Workspace) -> Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models |= {"bees:latest": {}, "wasps": {}}
        write_atomically(workspace.path / "tuneloop.toml", TOML.format(url=server.url))
        yield server


def test_listed_pulled_made_copied_removed(workspace: Workspace, ollama: FakeOllama, tuneloop_command: Command) -> None:
    def run(*arguments: object, **options: Any) -> Any:
        done = tuneloop_command("-w", workspace.path, "models", *arguments, "--json", **options)
        return json.loads(done.stdout)

    write_tiny(workspace.folder("models") / "a.gguf")
    listed = run("list")
    assert [(one["engine"], one["id"]) for one in listed["models"]] == [
        ("", "a.gguf"), ("ollama", "bees:latest"), ("ollama", "wasps"),
    ]  # fmt: skip
    assert "NO_SUCH_KEY" in listed["engines"]["far"]
    assert run("pull", "hornets")["name"] == "hornets" and "hornets" in ollama.models
    run(
        "create",
        "mild",
        "--from",
        "wasps",
        "--parameter",
        "temperature=0.2",
        "--parameter",
        "stop=a",
        "--parameter",
        "stop=b",
    )
    assert ollama.bodies("/api/create")[-1]["parameters"] == {"temperature": 0.2, "stop": ["a", "b"]}
    run("create", "ours", "--file", "a.gguf", "--system", "Be kind.")
    assert ollama.bodies("/api/create")[-1]["system"] == "Be kind."
    run("copy", "ours", "ours2")
    assert run("rm", "ours2", "--engine", "ollama") == {"removed": "ours2", "engine": "ollama"}
    assert "t/own" in run("rm", "bees", "--engine", "ollama", code=8)["message"]
    assert "a.gguf" in run("rm", "a.gguf")["removed"]
    ollama.loaded.add("wasps")
    assert run("running")["ollama"][0]["id"] == "wasps"
    for wrong, code in (
        (("pull", "x", "--engine", "far"), 7), (("pull", "10.0.0.1/a/b"), 5), (("create", "x"), 3),
        (("rm", "a.gguf"), 7), (("copy", "none", "y"), 7),
    ):  # fmt: skip
        assert run(*wrong, code=code)["message"]


def test_people_see_tables(workspace: Workspace, ollama: FakeOllama, tuneloop_command: Command) -> None:
    ollama.loaded.add("wasps")
    shown = tuneloop_command("-w", workspace.path, "models", "list").stdout
    assert "t/own" in shown and "Q4_0" in shown and "NO_SUCH_KEY" in shown and "No files yet" in shown
    assert "6,654 MB" in tuneloop_command("-w", workspace.path, "models", "running").stdout
