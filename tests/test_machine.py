"""What is said of this machine: figures that can be true, within the container's limit."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tuneloop import machine


def test_a_look_at_this_machine() -> None:
    found = machine.look()
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert 0 < found.memory_free <= found.memory <= psutil.virtual_memory().total
    assert 1e8 < found.bandwidth < 1e13 and 0.1 < found.gflops < 1e6
    assert f"× {found.cores}, " in found.name and found.name == machine.name()
    assert machine.look(probe=False).gflops == 0


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    whole = machine.memory()
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory() == whole
    (tmp_path / "memory.max").write_text("500000000\n")
    (tmp_path / "memory.current").write_text("480000000\n")
    assert (machine.memory(), machine.memory_free()) == (500_000_000, 20_000_000)


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free, whole = machine.disk(tmp_path / "a" / "b")
    assert 0 < free <= whole == machine.disk(tmp_path)[1]


def test_the_peak_of_a_process() -> None:
    block = bytearray(64 << 20)
    peak = machine.peak_memory(os.getpid())
    assert peak is not None and peak > len(block)
    assert machine.peak_memory(2**22 + 5) is None and machine.peak_memory(None) is None
