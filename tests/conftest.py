"""Fixtures of all tests: a workspace in a temporary folder, the shipped samples, the command line as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneloop
from tuneloop import texts
from tuneloop.workspace import Workspace, open_workspace

SLOW = (
    "cli/test_demo.py",
    "tune/test_lora.py",
    "loop/test_judging.py",
    "gateway/test_soak.py",
    "db/test_migrations.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of a few long tests first: two workers share the files, and one of 87 s at the end has nobody beside it."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(SLOW))


PACKAGE = Path(tuneloop.__file__).parent
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see neither the user's settings nor the network, and speak English."""
    for name in list(os.environ):
        if name.startswith("TUNELOOP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LANG", "C.UTF-8")
    texts.use("en")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "work", create=True)


@pytest.fixture
def demo_base() -> Path:
    """The small base model that ships with the package."""
    return PACKAGE / "demo" / "base"


@pytest.fixture
def community() -> Path:
    """The fictional community's export that ships with the package."""
    return PACKAGE / "demo" / "community" / "result.json"


@pytest.fixture
def tuneloop_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command line in a child process: `tuneloop_command("collect", path, code=0)`."""

    def run(*arguments: object, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tuneloop", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, **options)
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def shared_data(name: str) -> Path:
    """A file of the third-party development data beside the checkout; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name}: the development data is not beside this checkout")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
