"""Copies of a database while it is written, and back again.

SQLite by its own backup API: a copy of one moment, however much is written meanwhile. PostgreSQL by its own pg_dump
and pg_restore.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from tuneloop.errors import BadInput, Damaged, Missing, OutOfResources
from tuneloop.texts import _


def copy(url: str, target: Path) -> None:
    """Write a copy of the database behind `url` to a file that is not there yet.

    Raises BadInput when it is, OutOfResources when the copy cannot be written, Missing without pg_dump.
    """
    if target.exists():
        raise BadInput(_("{path} is there already").format(path=target), fix=_("Name a new file."))
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        if url.startswith("sqlite:///"):
            _copy_sqlite(Path(url.removeprefix("sqlite:///")), part)
        else:
            _run("pg_dump", url, "--format=custom", f"--file={part}")
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.rename(target)
    except (OSError, sqlite3.Error) as problem:
        raise OutOfResources(
            _("the copy cannot be written: {problem}").format(problem=problem), fix=_("Free some disk space.")
        ) from problem
    finally:
        part.unlink(missing_ok=True)


def restore(copied: Path, url: str, *, force: bool) -> Path | None:
    """Put a copy in the database's place; returns where the replaced file of SQLite was kept.

    Raises Damaged for a file that is no whole copy, BadInput when there is a database and `force` is not given.
    """
    if not copied.is_file():
        raise Missing(_("{path} is not there").format(path=copied))
    if not url.startswith("sqlite:///"):
        if not force:
            raise BadInput(_("the tables of the database would be replaced"), fix=_("Say so with --force."))
        _run("pg_restore", url, "--clean", "--if-exists", "--single-transaction", "--no-owner", str(copied))
        return None
    check(copied)
    place = Path(url.removeprefix("sqlite:///"))
    kept = place.with_suffix(".before-restore.db") if place.exists() else None
    if kept and not force:
        raise BadInput(
            _("{path} would be replaced").format(path=place),
            fix=_("Say so with --force; the old file is kept beside it."),
        )
    part = place.with_name(f".{place.name}.part")
    shutil.copyfile(copied, part)
    if kept:
        kept.unlink(missing_ok=True)
        _copy_sqlite(place, kept)  # what still stands in its write-ahead log goes along
    for leftover in (place.with_name(place.name + "-wal"), place.with_name(place.name + "-shm")):
        leftover.unlink(missing_ok=True)
    part.replace(place)
    return kept


def check(path: Path) -> None:
    """Raises Damaged unless the file is a whole SQLite database of tuneloop."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
            said = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
            known = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
    except sqlite3.Error as problem:
        said, known = [str(problem)], None
    if said != ["ok"] or known is None:
        raise Damaged(
            _("{path} is no whole copy of a tuneloop database: {said}").format(path=path, said=said[0]),
            fix=_("Take another copy."),
        )


def _copy_sqlite(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode=DELETE")  # one file: nothing beside it that could be forgotten
    check(target)


def _run(program: str, url: str, *arguments: str) -> None:
    if not shutil.which(program):
        raise Missing(_("{program} is not installed").format(program=program), fix="apt-get install postgresql-client")
    parts = make_url(url)
    environment = {**os.environ, "PGPASSWORD": parts.password or ""}
    target = ["-h", parts.host or "127.0.0.1", "-p", str(parts.port or 5432), "-U", parts.username or "", "-d"]
    command = [program, *target, parts.database or "postgres", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutOfResources(_("{program} failed: {said}").format(program=program, said=done.stderr.strip()[-300:]))
