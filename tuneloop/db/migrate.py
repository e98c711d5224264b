"""Bring a database to the newest schema: Alembic, all or nothing, with a copy made first."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine, *, backup: bool) -> None:
    """Run every missing migration in one transaction; `backup` copies an SQLite file beside itself first."""
    if backup and engine.dialect.name == "sqlite":
        _copy(Path(str(engine.url.database)))
    scripts = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])
    head = str(scripts.get_current_head())
    with engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        context = MigrationContext.configure(connection)
        try:
            current = context.get_current_revision()
            with Operations.context(context):
                for step in reversed(list(scripts.iterate_revisions(head, current or "base"))):
                    step.module.upgrade()
            context.stamp(scripts, head)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK") if sqlite else connection.rollback()
            raise
        connection.exec_driver_sql("COMMIT") if sqlite else connection.commit()


def _copy(path: Path) -> None:
    source = sqlite3.connect(path)
    target = sqlite3.connect(path.with_suffix(".before-upgrade.db"))
    with source, target:
        source.backup(target)
    source.close()
    target.close()
