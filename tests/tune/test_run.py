from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tuneloop.errors import Conflict
from tuneloop.tune import run
from tuneloop.workspace import Workspace, write_json

ROWS: list[run.Row] = [
    dict.fromkeys(run.COLUMNS, 0) | {"loss": None, "validation": 3.0},
    dict.fromkeys(run.COLUMNS, 1) | {"loss": 2.123456789, "validation": None},
    dict.fromkeys(run.COLUMNS, 2) | {"loss": 1.5, "validation": 1.25},
]


def test_the_curve_is_a_table_and_a_picture(tmp_path: Path) -> None:
    run.write_curve(tmp_path, ROWS)
    run.draw_curve(tmp_path, ROWS, "title", 2)
    with (tmp_path / "curve.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["loss"] for row in read] == ["", "2.12346", "1.5"]
    assert [row["validation"] for row in read] == ["3", "", "1.25"]
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_a_curve_without_checks_can_be_drawn(tmp_path: Path) -> None:
    run.draw_curve(tmp_path, [row | {"validation": None} for row in ROWS], "no validation part", 2)
    run.draw_curve(tmp_path, [], "nothing yet", 0)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_is_found_again_kept_apart_and_forgotten(workspace: Workspace) -> None:
    folder = run.find_folder(workspace, "a", "1111", again=False)
    assert not folder.exists()
    folder.mkdir()
    write_json(folder / "config.json", {"identity": "1111"})
    assert run.find_folder(workspace, "a", "1111", again=False) == folder
    with pytest.raises(Conflict):
        run.find_folder(workspace, "a", "2222", again=False)
    run.find_folder(workspace, "a", "2222", again=True)
    assert not folder.exists()


def test_the_environment_names_what_decides_figures(tmp_path: Path) -> None:
    run.write_environment(tmp_path)
    text = (tmp_path / "environment.json").read_text()
    assert all(word in text for word in ("torch", "transformers", "peft", "processor", "python"))
    assert run.peak_memory_mb() > 50
