"""A shop, a Telegram and a workspace for each test of the bot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bot import running
from tests.bot.fake_telegram import FakeTelegram
from tuneloop.workspace import Workspace


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoding the catalogue takes a second: each test copies the workspace."""
    return running.prepare(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram() as server:
        yield server


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path, telegram: FakeTelegram) -> Workspace:
    return running.copied(prepared, tmp_path / "work", telegram)


@pytest.fixture
def photo(prepared: Path) -> bytes:
    return (prepared / "photos" / "red-ball-0.jpg").read_bytes()
