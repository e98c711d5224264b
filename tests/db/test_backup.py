"""Copies made while rows are written, and brought back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from sqlalchemy import insert

from tests.db.postgres import Postgres, binaries
from tuneloop.db import backup, open_database, sqlite_url
from tuneloop.db.tables import health
from tuneloop.errors import BadInput, Damaged, Missing

Command = Callable[..., CompletedProcess[str]]


def count(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("select count(*) from health").fetchone()[0])


def test_a_copy_under_writes_holds_all_that_was_acknowledged_before_it(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "a.db")
    database, done, written = open_database(url), threading.Event(), [0]

    def write() -> None:
        while not done.is_set():
            with database.write() as rows:
                rows.execute(insert(health), [{"time": float(written[0]), "sample": {}}])
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(5):
            before = written[0]
            backup.copy(url, tmp_path / f"copy{n}.db")
            backup.check(tmp_path / f"copy{n}.db")
            assert count(tmp_path / f"copy{n}.db") >= before
    finally:
        done.set()
        writer.join()
        database.close()
    kept = backup.restore(tmp_path / "copy0.db", url, force=True)
    assert kept is not None and count(kept) == written[0]
    assert count(tmp_path / "a.db") == count(tmp_path / "copy0.db")


def test_nothing_is_overwritten_unasked_and_no_broken_copy_taken(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "a.db")
    open_database(url).close()
    backup.copy(url, tmp_path / "copy.db")
    with pytest.raises(BadInput):
        backup.copy(url, tmp_path / "copy.db")
    with pytest.raises(BadInput, match="replaced"):
        backup.restore(tmp_path / "copy.db", url, force=False)
    broken = tmp_path / "broken.db"
    broken.write_bytes((tmp_path / "copy.db").read_bytes()[:-5000])
    for bad in (broken, Path(__file__)):
        with pytest.raises(Damaged):
            backup.restore(bad, url, force=True)
    with pytest.raises(Missing):
        backup.restore(tmp_path / "none.db", url, force=True)
    assert list(tmp_path.glob(".*")) == []


def test_from_the_command_line(tmp_path: Path, tuneloop_command: Command) -> None:
    work = tmp_path / "w"
    assert tuneloop_command("-w", work, "keys", "create", "shop").returncode == 0
    assert tuneloop_command("-w", work, "backup", tmp_path / "b.db").returncode == 0
    assert tuneloop_command("-w", tmp_path / "other", "restore", tmp_path / "b.db").returncode == 0
    assert "shop" in tuneloop_command("-w", tmp_path / "other", "keys", "list").stdout


def test_postgresql_by_its_own_tools(tmp_path: Path) -> None:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    server = Postgres(programs)
    try:
        database = open_database(server.url)
        with database.write() as rows:
            rows.execute(insert(health), [{"time": 1.0, "sample": {"a": 1}}])
        backup.copy(server.url, tmp_path / "copy.dump")
        with database.write() as rows:
            rows.execute(health.delete())
        with pytest.raises(BadInput):
            backup.restore(tmp_path / "copy.dump", server.url, force=False)
        database.close()
        backup.restore(tmp_path / "copy.dump", server.url, force=True)
        database = open_database(server.url)
        with database.read() as rows:
            assert len(rows.execute(health.select()).all()) == 1
        database.close()
    finally:
        server.close()
