"""`make demo` as its user runs it: the sample chat to a running server, in a child process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import PACKAGE
from tuneloop import versions
from tuneloop.workspace import open_workspace


def test_the_whole_loop_runs_from_the_sample_to_an_answer(tuneloop_command: Callable[..., Any], tmp_path: Path) -> None:
    done = tuneloop_command("demo", "--once", timeout=600)
    for stage in ("collect", "dataset build", "tune", "gate", "pack"):
        assert f"tuneloop {stage}" in done.stdout
    assert "fictional" in done.stdout, "whoever is invented is called so"
    assert "bits per character" in done.stdout and "KL" in done.stdout
    assert "Talk to it" in done.stdout and "Stopped." in done.stdout
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
