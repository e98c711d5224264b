"""`tuneloop experiment replay` as people and machines run it: keys from a pipe, stopped, gone on with, revealed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from tests.answer.models import add_packed
from tests.engines.fake_ollama import FakeOllama, fake_ollama
from tests.loop.replays import ask_questions
from tuneloop import versions
from tuneloop.answer import calls
from tuneloop.choose import replay as plans
from tuneloop.cli.replay import KEYS
from tuneloop.db.tables import judgements
from tuneloop.workspace import Workspace, write_atomically

Command = Callable[..., subprocess.CompletedProcess[str]]
TOML = """
[engines.echo]
kind = "echo"

[engines.ollama]
kind = "ollama"
url = "{url}"

[tasks.t.variants.own]
engine = "echo"

[tasks.t.variants.big]
engine = "ollama"
model = "bees"
"""


@pytest.fixture
def ollama(workspace: Workspace) -> Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models["bees"] = {}
        write_atomically(workspace.path / "tuneloop.toml", TOML.format(url=server.url))
        ask_questions(workspace, 20)
        yield server


def run(command: Command, workspace: Workspace, *more: object, **options: Any) -> str:
    arguments = ("-w", workspace.path, "experiment", "replay", "t", "own", "big", *more)
    return command(*arguments, **options).stdout


def test_keys_from_a_pipe_stopped_and_gone_on_with(
    workspace: Workspace, ollama: FakeOllama, tuneloop_command: Command
) -> None:
    first = run(tuneloop_command, workspace, "--rater", "anna", input="1\nu\n1\n2\nq\n")
    assert "2 verdicts saved" in first and "goes on" in first and "You said" in first and "question" in first
    assert len(ollama.bodies("/api/chat")) == 20, "every answer is made before the first click"
    ollama.fail["/api/chat"] = (500, "it is not asked again")
    assert "2 of 20 questions are judged" in run(tuneloop_command, workspace, "--show")
    rest = run(tuneloop_command, workspace, "--rater", "anna", input="3" * 18 + "u3q")
    assert "3 of 20" in rest and "not enough data" not in rest and "no winner" in rest and "McNemar" in rest
    one = plans.history(workspace)[0]
    assert one.state == plans.OVER and one.verdict and (one.verdict["ties"], one.verdict["open"]) == (18, 0)
    shown = json.loads(run(tuneloop_command, workspace, "--show", "--json"))
    assert shown["verdict"] == one.verdict


def test_ended_early_it_says_that_this_is_not_enough(
    workspace: Workspace, ollama: FakeOllama, tuneloop_command: Command
) -> None:
    run(tuneloop_command, workspace, input="1t2")
    told = run(tuneloop_command, workspace, "--end")
    assert "not enough data" in told and "not judged 17" in told
    assert "already" not in run(tuneloop_command, workspace, input="q"), "the next one is new"
    assert [one.state for one in plans.history(workspace)] == [plans.OPEN, plans.OVER]


def test_what_cannot_be_replayed_is_one_clear_error(
    workspace: Workspace, ollama: FakeOllama, tuneloop_command: Command
) -> None:
    base = ("-w", workspace.path, "experiment", "replay", "--json")
    assert json.loads(tuneloop_command(*base, "t", "own", "none", code=7).stdout)["error"] == "Missing"
    assert json.loads(tuneloop_command(*base, "none", "own", "big", code=7).stdout)["error"] == "Missing"
    assert json.loads(tuneloop_command(*base, "t", "own", "big", "--show", code=7).stdout)["error"] == "Missing"
    assert json.loads(tuneloop_command(*base, "t", "own", "own", code=3).stdout)["error"] == "BadInput"
    tuneloop_command(*base, "t", "own", "big", "--questions", "3", code=2)
    ollama.fail["/api/chat"] = (503, "down")
    said = tuneloop_command(*base[:-1], "t", "own", "big", code=9)
    assert "503" in said.stderr and "Traceback" not in said.stderr


def test_the_active_version_is_a_contestant_like_others(workspace: Workspace, tuneloop_command: Command) -> None:
    toml = TOML.replace('engine = "ollama"\nmodel = "bees"', 'engine = "local"\nparameters = {{max_tokens = 3}}')
    write_atomically(workspace.path / "tuneloop.toml", "[serve]\ncontext = 256\n" + toml.format(url="http://h"))
    ask_questions(workspace, 20)
    versions.activate(workspace, version := add_packed(workspace, "small", context=256))
    shown = json.loads(run(tuneloop_command, workspace, "--end", "--json", code=7))
    assert shown["error"] == "Missing", "nothing was begun"
    assert "1 verdict saved" in run(tuneloop_command, workspace, input="1q")
    rows = [row for row in calls.recent(workspace) if row.parent and row.variant == "big"]
    assert len(rows) == 20 and {(row.status, row.version) for row in rows} == {("ok", version.id)}
    assert all(row.tokens_out <= 3 for row in rows)


def test_in_a_terminal_one_key_is_enough(workspace: Workspace, ollama: FakeOllama) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tuneloop", "-w", workspace.path, "experiment", "replay", "t", "own", "big"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None

        def wait_for(words: bytes) -> None:
            while words not in (line := process.stdout.readline()):  # type: ignore[union-attr]
                assert line, "it ended before it said so"

        wait_for(b"1 of 20")
        os.write(ours, "к".encode())  # the key R of a Russian keyboard, without Enter
        wait_for(b"2 of 20")
        os.write(ours, b"q")
        assert process.wait(20) == 0
    os.close(ours)
    os.close(theirs)
    assert plans.history(workspace)[0].state == plans.OPEN
    with workspace.db.read() as rows:
        assert [row.meta["said"] for row in rows.execute(select(judgements))] == ["right"]


def test_no_key_has_two_meanings() -> None:
    assert set(KEYS.values()) == {"left", "right", "tie", "skip", "undo", "quit"}
    assert all(KEYS[digit] == word for digit, word in zip("123456", dict.fromkeys(KEYS.values()), strict=True))
