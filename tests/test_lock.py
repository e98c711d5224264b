"""The list of hashes is of the versions that are tested, and pip takes no other file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "deploy" / "requirements.lock"
BLOCK = re.compile(r"^([\w.\-]+==[\w.+!]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def test_every_pinned_version_has_its_hashes() -> None:
    pinned = re.findall(r"^[\w.\-]+==[\w.+!]+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    locked = BLOCK.findall(LOCK.read_text(encoding="utf-8"))
    assert [pin for pin, _hashes in locked] == [pin for pin in pinned if not pin.startswith("torch==")], "make lock"
    assert len(LOCK.read_text(encoding="utf-8").splitlines()) == 1 + sum(1 + h.count("sha256") for _pin, h in locked)


@pytest.mark.soak
def test_pip_installs_from_it_and_refuses_another_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "v")], check=True)
    pip = [str(tmp_path / "v/bin/python"), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps"]
    subprocess.run([*pip, "-r", str(LOCK)], check=True, timeout=900)
    (block,) = (one for one in BLOCK.finditer(LOCK.read_text(encoding="utf-8")) if one[1].startswith("idna=="))
    (tmp_path / "other.lock").write_text(re.sub(r"sha256:....", "sha256:0000", block[0]))
    refused = subprocess.run(
        [*pip, "--force-reinstall", "-r", str(tmp_path / "other.lock")], capture_output=True, text=True, timeout=300
    )
    assert refused.returncode == 1 and "DO NOT MATCH THE HASHES" in refused.stderr
