"""`tuneloop models` with a server that speaks Ollama's API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.ask.oracle import oracle
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


def test_a_pull_that_does_not_fit_is_one_clear_error(
    workspace: Workspace, ollama: FakeOllama, tuneloop_command: Command
) -> None:
    ollama.bytes = 1 << 60
    done = tuneloop_command("-w", workspace.path, "models", "pull", "vast", code=6)
    assert "error: the download needs" in done.stderr and "tuneloop models fit" in done.stderr
    assert "vast" not in ollama.models


def test_what_fits_is_said_before_a_download(
    workspace: Workspace, ollama: FakeOllama, tuneloop_command: Command
) -> None:
    def run(*arguments: object, **options: Any) -> Any:
        return json.loads(
            tuneloop_command("-w", workspace.path, "models", "fit", *arguments, "--json", **options).stdout
        )

    listed = run()
    assert len(listed["models"]) > 15 and listed["machine"]["gflops"] > 0 and listed["list"] >= "2026-11-21"
    small = next(one for one in listed["models"] if one["model"] == "SmolLM2-135M-Instruct")
    assert small["quant"] == "q4_K_M" and 8e7 < small["disk"] < 1.3e8 and "speed" in small["estimated"]
    assert listed["stores"][0]["path"] == str(workspace.path)
    found = run("qwen3:8b", "--context", "40960")
    assert [one["quant"] for one in found["models"]] == ["q4_K_M", "q5_K_M", "q6_K", "q8_0", "f16"]
    write_tiny(workspace.folder("models") / "tiny.gguf")
    assert run("tiny.gguf", "--strict")["models"][0]["disk"] == 0
    assert "no model of an Ollama here" in run("no-such-model", code=7)["message"]
    ollama.models["bees:latest"]["model_info"] = {
        "general.architecture": "llama", "general.parameter_count": 10**15, "llama.embedding_length": 8192,
        "llama.block_count": 100, "llama.attention.head_count": 64,
    }  # fmt: skip
    assert run("bees")["models"][0]["source"] == "ollama"
    shown = tuneloop_command("-w", workspace.path, "models", "fit", "--quant", "f16").stdout
    assert (
        "Small open models in f16" in shown and "Where models lie" in shown and "tuneloop models rm tiny.gguf" in shown
    )
    outside = tuneloop_command("--lang", "ru", "models", "fit", "Qwen3-0.6B").stdout
    assert "Qwen3-0.6B, контекст 2048, 0.60 млрд" in outside and "квантование" in outside


def test_strict_is_a_refusal_for_scripts(workspace: Workspace, tuneloop_command: Command) -> None:
    done = tuneloop_command(
        "-w", workspace.path, "models", "fit", "Qwen3-8B", "--context", 1 << 20, "--strict", code=None
    )
    assert done.returncode in (0, 5)
    assert "Qwen3-8B, context 1048576, 8.2 B, Apache-2.0" in done.stdout


def test_a_trial_as_people_and_scripts_run_it(workspace: Workspace, tuneloop_command: Command) -> None:
    def run(*arguments: object, code: int = 0) -> str:
        return tuneloop_command("-w", workspace.path, "models", "trial", *arguments, code=code).stdout

    assert "there is no model to try" in run("--json", code=7)
    assert run("--show", code=4) == ""
    with oracle() as server:
        toml = f'[engines.echo]\nkind = "echo"\n[engines.far]\nurl = "{server.url}"\n'
        write_atomically(workspace.path / "tuneloop.toml", toml)
        write_tiny(workspace.folder("models") / "tiny.gguf")
        shown = run("--questions", "4")
        assert "3 models, each at most 600 s" in shown and "• far/oracle: 4 of 4 right, good" in shown
        assert "●" in shown and 'model = "far/oracle"' in shown and "an echo, no model" in shown
        assert "(known)" in run("--questions", "4", "--only", "far/*")
        told = json.loads(run("--show", "--json"))
        assert told["best"]["model"] == "oracle" and len(told["rows"]) == 3 and told["without_model"] >= 12
        lines = run("--show", "--markdown").splitlines()
        assert lines[0].startswith("| model | engine | size |") and lines[2].startswith("| oracle | far |")
    assert json.loads((workspace.path / "trials.json").read_text())["rows"]
