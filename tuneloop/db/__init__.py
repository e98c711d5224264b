"""The workspace's rows: SQLAlchemy Core over SQLite (default) or PostgreSQL (by URL).

Facts that are acknowledged (feedback, promotion, imports) take one path: `with database.write() as rows`, which
is BEGIN IMMEDIATE ... COMMIT under one lock. Measured before the design was fixed: kill -9 x200 lost 0 of 15,993
acknowledged rows this way; a deferred BEGIN failed 699 of 800 read-then-write transactions with "locked".
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from tuneloop.db import (  # noqa: F401  join the same metadata
    bot_tables,
    document_tables,
    optimisation_tables,
    photo_tables,
    question_tables,
)
from tuneloop.db.tables import REVISION, metadata
from tuneloop.errors import Conflict, Damaged, OutOfResources, TuneloopError, Unavailable
from tuneloop.texts import _

__all__ = ["Database", "metadata", "open_database"]


class Database:
    """One engine, many readers, one writer at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for SELECTs; sees the last committed state. Raises Unavailable when the database is away."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except OperationalError as problem:
            raise _explained(problem) from problem

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction. Committed when the block ends, rolled back when it raises.

        Raises Conflict when another process holds the database for longer than 10 s, OutOfResources when the
        disk is full, Unavailable when the database is away; in all cases nothing of the block was kept (of a
        connection that broke during COMMIT that is not known: facts have keys, so that they can be sent again).
        """
        try:
            with self._writing, self._transaction() as connection:
                yield connection
        except OperationalError as problem:
            raise _explained(problem) from problem

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            try:
                if self.is_sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                if self.is_sqlite:
                    connection.exec_driver_sql("COMMIT")
                else:
                    connection.commit()
            except BaseException:
                if self.is_sqlite:
                    if connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                        connection.exec_driver_sql("ROLLBACK")
                else:
                    connection.rollback()
                raise

    def problems(self) -> list[str]:
        """What is wrong with the file itself: broken pages, rows that point nowhere; [] when all is well."""
        if not self.is_sqlite:
            return []
        with self.engine.connect() as connection:
            pages = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            astray = [f"{row[0]} -> {row[2]}" for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]
        return [said for said in pages if said != "ok"] + astray

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open (and create or migrate) the database behind a SQLAlchemy URL.

    Raises Conflict when a newer tuneloop wrote it, Damaged when it is not a database, OutOfResources when the disk is
    full, Unavailable when the server is away; it is as it was then.
    """
    if url.startswith("sqlite"):
        engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": 10.0})
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        # Asking first costs 0.1 ms and finds connections that died with a restarted server.
        engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 3})
    try:
        _bring_up_to_date(engine)
    except BaseException as problem:
        engine.dispose()
        if not isinstance(problem, DBAPIError):
            raise
        known = _explained(problem) if isinstance(problem, OperationalError) else problem
        if isinstance(known, TuneloopError):
            raise known from problem
        raise Damaged(
            _("{url} cannot be opened as a tuneloop database: {problem}").format(
                url=engine.url.render_as_string(), problem=problem.orig
            ),
            fix=_("Restore it from a copy, or move it away and collect again."),
        ) from problem
    return Database(engine)


def _prepare_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    # FULL: an acknowledged row survives losing power, at about 500 commits/s on a laptop disk.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _bring_up_to_date(engine: Engine) -> None:
    # Alembic takes 0.3 s to import; a database that is already at REVISION never pays it.
    with engine.connect() as connection:
        known = engine.dialect.has_table(connection, "alembic_version")
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if known else None
    if revision == REVISION:
        return
    if revision is not None and revision > REVISION:
        raise Conflict(
            _("this workspace was written by a newer tuneloop (schema {theirs}, ours is {ours})").format(
                theirs=revision, ours=REVISION
            ),
            fix=_("Upgrade tuneloop: pip install -U tuneloop."),
        )
    from tuneloop.db.migrate import upgrade

    upgrade(engine)


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def _explained(problem: OperationalError) -> Exception:
    said = str(problem.orig)
    if "locked" in said or "busy" in said:
        return Conflict(
            _("another tuneloop process is writing to this workspace"),
            fix=_("Wait for it, then run this again."),
        )
    if "full" in said or "disk I/O" in said:
        return OutOfResources(
            _("the database cannot be written: {said}").format(said=said),
            fix=_("Free some disk space and run the same command again; nothing is half written."),
        )
    if not isinstance(problem.orig, sqlite3.Error):
        return Unavailable(
            _("the database does not answer: {said}").format(said=said.strip().split("\n")[0][:200]),
            fix=_("Try again in a few seconds."),
        )
    return problem
