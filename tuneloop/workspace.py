"""A workspace is a folder: settings, rows, datasets, models, runs. Nothing of a team's data lives elsewhere.

tuneloop.toml    settings
tuneloop.db      rows (messages, versions, calls, feedback, ...)
datasets/        one folder per built dataset, card.json written last
runs/            one folder per training run: config, curve, checkpoints
models/          immutable versions, named by the hash of their content
packs/           what `pack` made of a version: GGUF files, archives
tables/          files that were uploaded to be asked, one folder each
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop.errors import Conflict, Missing, OutOfResources
from tuneloop.settings import Settings, load
from tuneloop.texts import _

if TYPE_CHECKING:
    from tuneloop.db import Database

FOLDERS = ("datasets", "runs", "models", "packs", "photos", "tables")


@dataclass(frozen=True)
class Workspace:
    """Opened with `open_workspace`; the database is connected on first use."""

    path: Path
    settings: Settings

    @cached_property
    def db(self) -> Database:
        from tuneloop.db import open_database, sqlite_url

        return open_database(self.settings.text("db.url") or sqlite_url(self.path / "tuneloop.db"))

    def folder(self, name: str) -> Path:
        """One of FOLDERS, created when missing."""
        assert name in FOLDERS, name
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a named lock of this workspace (released by the system when the process dies).

        Raises Conflict at once when another process holds it.
        """
        import fcntl

        with (self.path / f".{name}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    _("another tuneloop process is busy with '{name}' in {path}").format(name=name, path=self.path),
                    fix=_("Wait for it, then run this again."),
                ) from None
            yield


def locate(flag: Path | None) -> Path:
    """Where the workspace is: the flag, TUNELOOP_WORKSPACE, this folder if it is one, else ./tuneloop-work."""
    if flag is not None:
        return flag.expanduser().absolute()
    if configured := load(None).text("workspace"):
        return Path(configured).expanduser().absolute()
    here = Path.cwd()
    return here if (here / "tuneloop.toml").exists() else here / "tuneloop-work"


def open_workspace(path: Path, *, create: bool = False) -> Workspace:
    """Open the workspace in `path`. Raises Missing when there is none and `create` is false."""
    if not (path / "tuneloop.toml").exists():
        if not create:
            raise Missing(
                _("there is no workspace in {path}").format(path=path),
                fix=_("Start one with: tuneloop collect YOUR_EXPORT (or name it with --workspace)."),
            )
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / "tuneloop.toml", "# Settings of this workspace; `tuneloop settings` lists every key.\n")
    return Workspace(path, load(path))


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never a half."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
            if path.exists():  # it may hold a key that others of this machine must not read
                os.fchmod(handle.fileno(), path.stat().st_mode & 0o777)
        temporary.replace(path)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise OutOfResources(
            _("{path} cannot be written: {problem}").format(path=path, problem=problem.strerror),
            fix=_("Free some disk space or choose another workspace; nothing was changed."),
        ) from problem
    _sync_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, readable by people, keys in the order given."""
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Build a folder out of sight; it takes its final name only when the block ends without an error.

    An existing folder of that name is replaced. Whatever a crash left of an earlier attempt is removed first.
    """
    staging = final.with_name(f".{final.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    old = final.with_name(f".{final.name}.old")
    if old.exists():  # a kill between the two renames below
        clear_leftover(old)
    staging.mkdir(parents=True)
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync_folder(staging)
    if final.exists():
        final.rename(old)
        staging.rename(final)
        shutil.rmtree(old)
    else:
        staging.rename(final)
    _sync_folder(final.parent)


def leftovers(path: Path, *, older_than: float = 3600.0) -> list[Path]:
    """What crashed work left in a workspace: half-written folders (.part), replaced ones (.old), files (.tmp).

    older_than: seconds since the last change; younger ones may belong to a process that is at work.
    """
    found = [*path.glob(".*.tmp")]
    for name in FOLDERS:
        for pattern in (".*.part", ".*.old", ".*.tmp"):
            found += (path / name).glob(pattern)
    return sorted(p for p in found if time.time() - p.stat().st_mtime > older_than)


def clear_leftover(path: Path) -> Path | None:
    """Remove one of `leftovers`; a replaced folder whose successor never came is put back and returned instead."""
    final = path.with_name(path.name.removeprefix(".").removesuffix(".old"))
    if path.suffix == ".old" and not final.exists():
        path.rename(final)
        return final
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return None


def need_disk(path: Path, needed: int) -> None:
    """Raise OutOfResources unless `needed` bytes (and a tenth more) are free where `path` is."""
    free = shutil.disk_usage(path if path.exists() else path.parent).free
    if free < needed * 1.1:
        raise OutOfResources(
            _("{needed:.1f} GB of disk are needed in {path}, {free:.1f} GB are free").format(
                needed=needed * 1.1 / 1e9, path=path, free=free / 1e9
            ),
            fix=_("Free some space, or choose another disk with --workspace."),
        )


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
