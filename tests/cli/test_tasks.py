"""`tuneloop tasks` from the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneloop.answer.tasks import Shelf
from tuneloop.cli.tasks import _fields
from tuneloop.errors import BadInput
from tuneloop.workspace import Workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


def machine(command: Command, workspace: Workspace, *arguments: object, code: int = 0, **options: Any) -> Any:
    return json.loads(command("-w", workspace.path, "tasks", *arguments, "--json", code=code, **options).stdout)


def test_made_shown_changed_removed(workspace: Workspace, tuneloop_command: Command) -> None:
    assert [t["name"] for t in machine(tuneloop_command, workspace, "list")["tasks"]] == ["chat"]
    machine(tuneloop_command, workspace, "set", "--engine", "far", "url=https://h/v1", "key_env=FAR_KEY")
    machine(tuneloop_command, workspace, "set", "tags", "prompt=[Tags] for: {text}", 'checks=["hashtags:2-9"]')
    made = machine(tuneloop_command, workspace, "set", "tags/far", "engine=far", "model=m", "parameters.temperature=0")
    assert (made["model"], made["parameters"]) == ("m", {"temperature": 0})
    shown = machine(tuneloop_command, workspace, "show", "tags")
    assert list(shown["variants"]) == ["active", "far"]
    assert machine(tuneloop_command, workspace, "show", "tags/far") == made
    assert machine(tuneloop_command, workspace, "show", "--engine", "far")["url"] == "https://h/v1"
    people = tuneloop_command("-w", workspace.path, "tasks", "list").stdout
    assert "50%" in people
    assert "FAR_KEY" in people
    assert "[Tags] for" in tuneloop_command("-w", workspace.path, "tasks", "show", "tags").stdout
    assert machine(tuneloop_command, workspace, "rm", "--engine", "far", code=8)["error"] == "Conflict"
    assert machine(tuneloop_command, workspace, "rm", "tags/far") == {"removed": "tags/far"}
    assert machine(tuneloop_command, workspace, "rm", "--engine", "far") == {"removed": "far"}
    assert machine(tuneloop_command, workspace, "undo")["engines"] == ["local", "far"]
    assert Shelf(workspace).book.tasks["tags"].checks == ("hashtags:2-9",)


def test_a_wrong_change_is_one_clear_error(workspace: Workspace, tuneloop_command: Command) -> None:
    before = (workspace.path / "tuneloop.toml").read_bytes()
    said = machine(tuneloop_command, workspace, "set", "tags", "sytem=x", code=3)
    assert "did you mean 'system'" in said["message"]
    assert machine(tuneloop_command, workspace, "show", "tags", code=7)["error"] == "Missing"
    assert machine(tuneloop_command, workspace, "undo", code=7)["error"] == "Missing"
    tuneloop_command("-w", workspace.path, "tasks", "set", "tags", "nothing", code=2)
    assert (workspace.path / "tuneloop.toml").read_bytes() == before


def test_check_names_the_wrong_line(workspace: Workspace, tuneloop_command: Command) -> None:
    assert machine(tuneloop_command, workspace, "check") == {"good": True, "tasks": 1, "engines": 1}
    (workspace.path / "tuneloop.toml").write_text("[tasks.tags]\n\nroute = 'cheepest'\n", encoding="utf-8")
    said = machine(tuneloop_command, workspace, "check", code=3)
    assert said["message"].startswith("tasks.tags.route (line 3)")
    assert "cheapest" in said["message"]


def test_check_cleans_and_checks_an_answer(workspace: Workspace, tuneloop_command: Command, tmp_path: Path) -> None:
    text = "[tasks.tags]\ncleaner = 'no_thinking | hashtags'\nchecks = ['hashtags:2-3', 'language:same']\n"
    (workspace.path / "tuneloop.toml").write_text(text, encoding="utf-8")
    answer = "<think>hm</think>#Мода и #стиль"
    expected = {"answer": "#мода #стиль", "score": 1.0, "checks": {"hashtags:2-3": True, "language:same": True}}
    asked = ("check", "tags", "--question", "шапка")
    assert machine(tuneloop_command, workspace, *asked, "--answer", answer) == expected
    (tmp_path / "answer.txt").write_text(answer, encoding="utf-8")
    assert machine(tuneloop_command, workspace, *asked, "--file", tmp_path / "answer.txt") == expected
    assert machine(tuneloop_command, workspace, *asked, "--file", "-", input=answer) == expected
    shown = tuneloop_command("-w", workspace.path, "tasks", "check", "tags", "--answer", "[bold]").stdout
    assert "failed" in shown
    tuneloop_command("-w", workspace.path, "tasks", "check", "tags", code=2)
    (tmp_path / "answer.txt").write_bytes(b"\xff")
    assert machine(tuneloop_command, workspace, *asked, "--file", tmp_path / "answer.txt", code=3)["fix"]


def test_values_are_toml_or_plain_text() -> None:
    assert _fields(("weight=0.5", "fallback=false", "limit=60/minute", "system=Be [brief]", "cleaner=")) == {
        "weight": 0.5,
        "fallback": False,
        "limit": "60/minute",
        "system": "Be [brief]",
        "cleaner": None,
    }
    assert _fields(('system="5"', "prompt=2020-01-01", 'a.b.c=["x"]', "a.d=1", "x=1\ny=2")) == {
        "system": "5",
        "prompt": "2020-01-01",
        "a": {"b": {"c": ["x"]}, "d": 1},
        "x": "1\ny=2",
    }
    with pytest.raises(BadInput):
        _fields(("a=1", "a.b=2"))
