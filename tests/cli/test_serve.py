"""`tuneloop serve` from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.answer.models import add_packed
from tests.engines.tiny import BASICS, by_hand, u32, write_tiny
from tests.gateway.live import QUESTION, configured, until
from tests.gateway.process import serve
from tuneloop import journal, versions
from tuneloop.answer import calls
from tuneloop.workspace import open_workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_file_is_served_without_a_workspace_before(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "моя модель.gguf")
    with serve(tmp_path / "new", "--model", model) as served:
        reply = httpx.post(served.url + "/v1/chat/completions", json=QUESTION, trust_env=False, timeout=60)
        assert reply.status_code == 200
        page = httpx.get(served.url, trust_env=False, timeout=60)
        assert page.status_code == 200
        assert "<textarea" in page.text
        assert "/v1/chat/completions" in httpx.get(served.url + "/docs", trust_env=False, timeout=60).text
    workspace = open_workspace(tmp_path / "new")
    journal.settle(workspace)  # the server was killed: its rows wait in the journal
    assert [c.version for c in calls.recent(workspace)] == ["file:моя модель.gguf"]


def test_activation_from_the_command_line_reaches_the_running_server(tmp_path: Path, tuneloop_command: Command) -> None:
    workspace = configured(tmp_path / "work", context=256)
    first, second = add_packed(workspace, "first"), add_packed(workspace, "second")
    versions.activate(workspace, first)
    workspace.db.close()
    with serve(tmp_path / "work") as served:
        assert httpx.get(served.url + "/health", trust_env=False, timeout=60).json()["serving"]["version"] == first.id
        done = tuneloop_command("-w", tmp_path / "work", "versions", "activate", second.id)
        assert "loads and answers" in done.stdout
        until(
            lambda: (
                httpx.get(served.url + "/health", trust_env=False, timeout=60).json()["serving"]["version"] == second.id
            ),
            10,
        )


def test_chosen_version_is_served_without_being_activated(tmp_path: Path) -> None:
    workspace = configured(tmp_path / "work", context=256)
    first, second = add_packed(workspace, "first"), add_packed(workspace, "second")
    versions.activate(workspace, first)
    with serve(tmp_path / "work", "--version", "second") as served:
        health = httpx.get(served.url + "/health", trust_env=False, timeout=60).json()
    assert (health["serving"]["version"], health["active"]) == (second.id, first.id)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--model", "none.gguf"], 7, "there is no file"),
        (["--model", "lies.gguf"], 3, "block_count"),
        ([], 7, "no version is active"),
        (["--version", "nope"], 7, "there is no version"),
        (["--version", "a", "--model", "b"], 2, "exclude each other"),
        (["--host", "0.0.0.0"], 5, "no key is set"),
        (["--host", "203.0.113.1", "--model", "ok.gguf"], 8, "cannot listen"),
        (["--port", "99999"], 2, "99999"),
    ],
)
def test_what_cannot_be_served_is_one_clear_error(
    tmp_path: Path, tuneloop_command: Command, arguments: list[str], code: int, said: str
) -> None:
    open_workspace(tmp_path / "work", create=True)
    absurd = (BASICS[0], u32("llama.block_count", 2**31 - 1), *BASICS[2:])
    (tmp_path / "lies.gguf").write_bytes(by_hand(keys=absurd))
    write_tiny(tmp_path / "ok.gguf")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TUNELOOP_")}
    if "203.0.113.1" in arguments:
        environment["TUNELOOP_SERVE_KEY"] = "k" * 32
    done = tuneloop_command("-w", "work", "serve", *arguments, code=code, env=environment, timeout=60)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_people_are_told_where_and_how(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny.gguf")
    command = [sys.executable, "-m", "tuneloop", "-w", "work", "serve", "--port", "0", "--model", "tiny.gguf"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        late = threading.Timer(30, process.kill)
        late.start()
        said = ""
        while "Ctrl-C" not in said:
            said += process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said += process.stdout.read()
        late.cancel()
    assert process.returncode == 0
    curl = next(line for line in said.splitlines() if line.startswith("curl http://127.0.0.1:"))
    assert "/v1/chat/completions" in curl
    assert "from openai import OpenAI" in said
    assert "Stopped." in said
