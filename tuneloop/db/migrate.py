"""Bring a database to the newest schema: Alembic, all or nothing, with a copy made first."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from tuneloop.errors import OutOfResources
from tuneloop.texts import _

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x74756E656C6F6F70  # "tuneloop": advisory locks are numbers that a database's programs agree on


def upgrade(engine: Engine) -> None:
    """Run every missing migration in one transaction; an SQLite file that holds something is copied beside itself."""
    scripts = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])
    head = str(scripts.get_current_head())
    with engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        # One process at a time; the others find nothing left to do. Both locks end with the transaction.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({LOCK})")
        context = MigrationContext.configure(connection)
        try:
            current = context.get_current_revision()
            if sqlite and current not in (None, head):  # under the lock: no other process has changed it meanwhile
                _copy(Path(str(engine.url.database)))
            with Operations.context(context):
                for step in reversed(list(scripts.iterate_revisions(head, current or "base"))):
                    step.module.upgrade()
            context.stamp(scripts, head)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK") if sqlite else connection.rollback()
            raise
        connection.exec_driver_sql("COMMIT") if sqlite else connection.commit()


def _copy(path: Path) -> None:
    part = path.with_name(f".{path.stem}.before-upgrade.tmp")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
        part.replace(path.with_suffix(".before-upgrade.db"))
    except (sqlite3.OperationalError, OSError) as problem:
        raise OutOfResources(
            _("the copy cannot be written: {problem}").format(problem=problem), fix=_("Free some disk space.")
        ) from problem
    finally:
        part.unlink(missing_ok=True)
