"""`tuneloop backup` and `restore`: the rows of a workspace as one file."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from tuneloop import journal
from tuneloop.cli.show import Door
from tuneloop.db import backup as copies
from tuneloop.texts import _


@click.command("backup", help=_("Copy the database to a new file, also while the server writes."))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def backup(door: Door, file: Path) -> None:
    workspace = door.workspace()
    journal.settle(workspace)
    copies.copy(journal.place(workspace)[1], file)
    size = file.stat().st_size
    door.say(_("{path}: {size:.1f} MB. Datasets and models are folders: copy them as such.").format(
        path=escape(str(file)), size=size / 1e6))  # fmt: skip
    door.result({"path": str(file), "bytes": size})


@click.command("restore", help=_("Put a backup in the database's place. Stop the server first."))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help=_("Replace what is there; the old file is kept beside it."))
@click.pass_obj
def restore(door: Door, file: Path, force: bool) -> None:
    workspace = door.workspace(create=True)
    kept = copies.restore(file, journal.place(workspace)[1], force=force)
    assert workspace.db  # brought to the newest schema, or refused
    door.say(_("Restored from {path}.").format(path=escape(str(file))))
    if kept:
        door.say(_("What was there is kept as {path}.").format(path=escape(str(kept))))
    door.result({"restored": str(file), "kept": kept and str(kept)})
