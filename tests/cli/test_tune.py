from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tune import small_datasets
from tuneloop.workspace import open_workspace

Command = Callable[..., Any]
QUICK = ("--epochs", 1, "--rank", 4, "--batch-tokens", 640, "--threads", 1, "--dtype", "fp32")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = open_workspace(tmp_path / "work", create=True)
    small_datasets.write(made.folder("datasets") / "shop")
    return made.path


def test_every_value_is_shown_with_its_origin_then_the_next_step(work: Path, tuneloop_command: Command) -> None:
    (work / "tuneloop.toml").write_text("[tune]\nalpha = 8\n")
    done = tuneloop_command(
        "-w", work, "tune", *QUICK, env={"TUNELOOP_TUNE_SEED": "3", "PATH": "/usr/bin", "COLUMNS": "160"}
    )
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()}
    assert lines["rank"].split() == ["rank", "4", "flag"]
    assert lines["alpha"].split() == ["alpha", "8", "tuneloop.toml"]
    assert lines["seed"].split() == ["seed", "3", "TUNELOOP_TUNE_SEED"]
    assert lines["max_length"].split()[-1] == "default"
    assert "3 M parameters" in lines["rate"]
    assert "Next: tuneloop gate" in done.stdout
    assert done.stderr == ""


def test_json_is_one_document_also_when_the_run_is_done_before(work: Path, tuneloop_command: Command) -> None:
    first = json.loads(tuneloop_command("-w", work, "tune", "shop", "--json", *QUICK).stdout)
    second = json.loads(tuneloop_command("-w", work, "tune", "shop", "--json", *QUICK).stdout)
    assert first == second
    assert first["validation"] < first["validation_before"]
    assert Path(first["run"], "curve.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("tune", "nowhere"), 7, "not a dataset folder"),
        (("tune", "--base", "nowhere"), 7, "no model folder"),
        (("tune", "--base", "."), 3, "no config.json"),
        (("tune", "--rank", "0"), 3, "rank is 0 (from flag)"),
        (("tune", "--name", "../up"), 3, "no name for a run"),
        (("tune", "--max-hours", "0.0000001"), 6, "tune.max_hours"),
    ],
)
def test_wrong_orders_are_one_clear_line(
    work: Path, tuneloop_command: Command, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = tuneloop_command("-w", work, *arguments, code=code)
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (work / "runs").exists() or not list((work / "runs").iterdir())


def test_without_a_dataset_the_next_step_is_named(tmp_path: Path, tuneloop_command: Command) -> None:
    open_workspace(tmp_path / "empty", create=True)
    done = tuneloop_command("-w", tmp_path / "empty", "tune", code=7)
    assert "tuneloop dataset build" in done.stderr
