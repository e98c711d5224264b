"""`make demo` as its user runs it: the sample chat to a running server, in a child process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PACKAGE
from tuneloop import versions
from tuneloop.cli.demo import _folder
from tuneloop.cli.show import Door
from tuneloop.workspace import open_workspace


def test_the_whole_loop_runs_from_the_sample_to_an_answer(tuneloop_command: Callable[..., Any], tmp_path: Path) -> None:
    done = tuneloop_command("demo", "--once", timeout=600)
    for stage in ("collect", "dataset build", "tune", "gate", "pack"):
        assert f"tuneloop {stage}" in done.stdout
    assert "fictional" in done.stdout, "whoever is invented is called so"
    assert "bits per character" in done.stdout and "KL" in done.stdout
    assert "Talk to it" in done.stdout and "Stopped." in done.stdout
    assert "Next:" not in done.stdout, "the next command comes by itself"
    assert "Who answers most" not in done.stdout, "nobody is asked about the sample"
    assert "demo --input" in done.stdout
    workspace = open_workspace(tmp_path / "tuneloop-demo")
    version = versions.find(workspace, "latest")
    assert version.verdict is not None
    assert version.active == (version.verdict["decision"] == "promote")
    assert list((workspace.path / "packs" / version.id).glob("*.gguf"))

    again = tuneloop_command("--lang", "ru", "demo", "--once", timeout=600)
    assert version.id in again.stdout and "шагов" not in again.stdout, "a finished run is not trained again"


def test_the_sample_ships_with_the_package() -> None:
    assert (PACKAGE / "demo" / "community" / "result.json").stat().st_size > 100_000
    assert (PACKAGE / "demo" / "base" / "model.safetensors").exists()


def test_a_file_that_is_no_chat_stops_at_the_first_step(tuneloop_command: Callable[..., Any], tmp_path: Path) -> None:
    bad = tmp_path / "notes.txt"
    bad.write_text("just some notes\n")
    done = tuneloop_command("demo", "--once", "--input", bad, code=3)
    assert done.stderr.count("error:") == 1 and "next:" in done.stderr


def test_your_chat_has_a_workspace_of_its_own(tmp_path: Path) -> None:
    """In the sample's workspace the sample, being larger, would be what is tuned on."""
    one, two = tmp_path / "ChatExport_2026-01-31" / "result.json", tmp_path / "Другой чат.zip"
    assert _folder(None) == "tuneloop-demo"
    assert _folder(one) == "tuneloop-demo-chatexport-2026-01-31-result"
    assert _folder(two).endswith("drugoy-chat") and _folder(two).startswith("tuneloop-demo-")


def test_hints_are_for_who_types_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for hints, as_json, heard in ((True, False, "go on\n"), (False, False, ""), (True, True, "")):
        Door(None, as_json, hints).hint("go on")
        assert capsys.readouterr().out == heard
