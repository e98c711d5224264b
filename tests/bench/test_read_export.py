"""The bench frame lists and runs; the written export is one that tuneloop and json.load read alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import frame, read_export
from tuneloop.collect import store
from tuneloop.workspace import Workspace

ROOT = Path(__file__).parents[2]


def test_benches_are_listed_and_unknown_ones_named() -> None:
    listed = subprocess.run([sys.executable, "-m", "bench"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "read_export" in listed.stdout
    wrong = subprocess.run([sys.executable, "-m", "bench", "nothing"], capture_output=True, text=True, cwd=ROOT)
    assert wrong.returncode == 2
    assert "no such bench: nothing" in wrong.stderr


def test_written_export_is_read_whole(tmp_path: Path, workspace: Workspace) -> None:
    path = tmp_path / "result.json"
    read_export.write_export(path, messages=2_000)
    items = json.loads(path.read_text(encoding="utf-8"))["messages"]
    (done,) = store.import_export(workspace, path)
    assert done.read == len(items) == 2_000
    assert done.kept == done.added == sum(item["type"] == "message" for item in items)
    assert 400 < path.stat().st_size / 2_000 < 600


@pytest.mark.soak
def test_a_million_messages_keep_to_the_floor(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    read_export.write_export(path)
    stored = frame.child(read_export.STORE, str(path), str(tmp_path / "work"))
    back = frame.child(read_export.BACK, str(tmp_path / "work"))
    assert stored.said.startswith("1000000 ")
    assert stored.cpu + back.cpu < 35  # of the 60 s that reading, storing and pairing may take
    assert max(stored.peak, back.peak) < 300


def test_contestants_run_in_turns() -> None:
    order: list[str] = []
    found = frame.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b", "a", "b"]
    assert found.keys() == {"a", "b"}


def test_child_reports_its_own_memory() -> None:
    small = frame.child("print(5)")
    large = frame.child("x = bytearray(200 << 20)")
    assert small.said == "5"
    assert large.peak - small.peak > 150
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        frame.child("1 / 0")
