"""Open a table for a command: a bar while a large file is loaded, and a word when that is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tuneloop.ask import pace
from tuneloop.ask.table import Table, open_table
from tuneloop.cli.show import Door
from tuneloop.progress import Progress as Watch
from tuneloop.progress import silent
from tuneloop.texts import _, n_, visible

GB, MB = 10**9, 10**6


def opened(door: Door, path: Path, *, cache: Path | None, **asked: Any) -> Table:
    """`open_table` with bars on a terminal. Ctrl-C ends the command with 130 and says that nothing is left."""
    try:
        with bars(door) as watch:
            table = open_table(path, cache=cache, watch=watch, **asked)
    except KeyboardInterrupt:
        click.echo(_("Loading was stopped; nothing half-made is left. The same command starts it again."), err=True)
        raise click.exceptions.Exit(130) from None
    if cache is None and table.database.parent != path.absolute().parent / ".tuneloop":
        said = _("Nothing can be written beside {name}: the loaded table is kept in {folder}.")
        click.echo(visible(said.format(name=path.name, folder=table.database.parent)), err=True)
    return table


@contextmanager
def bars(door: Door) -> Iterator[Watch]:
    """Bytes of bytes, rows so far and the time left on stderr; nothing when it is no terminal or with --json."""
    if door.as_json or not door.errors.is_terminal:
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=door.errors, transient=True) as shown:
        yield _watch(shown)


def _watch(shown: Progress) -> Watch:
    labels = {
        pace.COUNTING: _("counting lines"),
        pace.READING: _("reading"),
        pace.STORING: _("storing"),
        pace.PROFILING: _("counting values"),
    }
    tasks: dict[str, TaskID] = {}

    def watch(stage: str, done: float, total: float | None) -> None:
        if stage == pace.ROWS:
            if tasks:
                rows = n_("{n} row", "{n} rows", int(done)).format(n=f"{int(done):,}")
                shown.update(tasks[next(reversed(tasks))], rows=rows)
            return
        if stage not in tasks:
            tasks[stage] = shown.add_task(labels.get(stage, stage), total=total, amount="", rows="")
        size, unit = (GB, _("GB")) if (total or 0) >= GB else (MB, _("MB"))
        amount = f"{done / size:.2f} / {(total or 0) / size:.2f} {unit}"
        if stage == pace.PROFILING:
            amount = _("column {n} of {all}").format(n=int(done), all=int(total or 0))
        shown.update(tasks[stage], completed=done, total=total, amount=amount)

    return watch
