"""The one writer: all or nothing, no "locked" for users, and clear words for what cannot be mended here."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, inspect, select, text

from tuneloop.db import metadata, open_database, sqlite_url, tables
from tuneloop.errors import Conflict, Damaged
from tuneloop.workspace import Workspace

ROW = {"source": "telegram", "name": "n", "kind": ""}


def test_schema_is_what_the_tables_say(workspace: Workspace) -> None:
    found = inspect(workspace.db.engine)
    assert set(found.get_table_names()) == {*metadata.tables, "alembic_version"}
    for name, table in metadata.tables.items():
        assert {c["name"] for c in found.get_columns(name)} == {c.name for c in table.columns}
    with workspace.db.read() as rows:
        assert rows.execute(text("SELECT version_num FROM alembic_version")).scalar() == tables.REVISION
        assert rows.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert rows.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert rows.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_failed_block_keeps_nothing(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError), workspace.db.write() as rows:
        rows.execute(insert(tables.chats), [ROW | {"id": "a"}])
        raise RuntimeError
    with workspace.db.write() as rows:
        rows.execute(insert(tables.chats), [ROW | {"id": "b"}])
    with workspace.db.read() as rows:
        assert [r.id for r in rows.execute(select(tables.chats))] == ["b"]


def test_reader_sees_only_what_is_committed(workspace: Workspace) -> None:
    with workspace.db.write() as rows:
        rows.execute(insert(tables.chats), [ROW | {"id": "a"}])
        with workspace.db.read() as other:
            assert other.execute(select(tables.chats)).first() is None


def test_eight_writers_are_never_locked_out(workspace: Workspace) -> None:
    """Read, then write: with a deferred BEGIN 699 of 800 such transactions failed."""
    with workspace.db.write() as rows:
        rows.execute(insert(tables.chats), [ROW | {"id": "a", "kind": "0"}])
    other = open_database(sqlite_url(workspace.path / "tuneloop.db"))  # as another process has it: its own lock
    problems: list[Conflict] = []

    def count(database: object) -> None:
        try:
            for _n in range(25):
                with database.write() as rows:  # type: ignore[attr-defined]
                    now = int(rows.execute(select(tables.chats.c.kind)).scalar_one())
                    rows.execute(tables.chats.update().values(kind=str(now + 1)))
        except Conflict as problem:
            problems.append(problem)

    writers = [threading.Thread(target=count, args=(db,)) for db in (workspace.db, other) * 4]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert problems == []
    with workspace.db.read() as rows:
        assert rows.execute(select(tables.chats.c.kind)).scalar_one() == "200"
    other.close()


def test_held_database_is_a_conflict(workspace: Workspace) -> None:
    with workspace.db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")  # the pool hands this connection to the next writer
    holder = sqlite3.connect(workspace.path / "tuneloop.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Conflict, match="another tuneloop process") as caught, workspace.db.write():
        raise AssertionError("not reached")
    assert caught.value.fix
    holder.execute("ROLLBACK")
    holder.close()
    with workspace.db.write() as rows:
        rows.execute(insert(tables.chats), [ROW | {"id": "a"}])


def test_file_of_a_newer_tuneloop_is_refused_untouched(workspace: Workspace) -> None:
    with workspace.db.write() as rows:
        rows.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    workspace.db.close()
    with pytest.raises(Conflict, match="newer tuneloop"):
        open_database(sqlite_url(workspace.path / "tuneloop.db"))


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be read as one" * 99, b"SQLite format 3\x00" + bytes(999)]
)
def test_what_is_no_database_is_damaged_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="cannot be opened"):
        open_database(sqlite_url(path))
    assert path.read_bytes() == content


def test_four_processes_create_one_database(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tuneloop.db import open_database, sqlite_url;"
        "open_database(sqlite_url(Path(sys.argv[1])))"
    )
    path = tmp_path / "new.db"
    started = [subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE) for _n in range(4)]
    said = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    database = open_database(sqlite_url(path))
    assert database.problems() == []
    database.close()


def test_rows_that_point_nowhere_are_named(workspace: Workspace) -> None:
    assert workspace.db.problems() == []
    with workspace.db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        columns = "id, call, kind, value, time, user, key"
        connection.exec_driver_sql(f"INSERT INTO feedback ({columns}) VALUES ('f', 'gone', 'thumb', 'up', 0, '', 'k')")
    assert workspace.db.problems() == ["feedback -> calls"]
