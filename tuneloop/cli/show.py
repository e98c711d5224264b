"""What commands share: the workspace they were given, tables, progress bars, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tuneloop.progress import Progress as Watch
from tuneloop.texts import visible, visible_json
from tuneloop.workspace import Workspace, locate, open_workspace


class Harmless(Console):
    """A console on which names, cells and answers of others steer nothing: rich itself lets ESC through."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string on its way to the screen comes by here: lines, cells of tables, panels."""
        return super().render_str(visible(text), **options)


@dataclass
class Door:
    """Handed to every command (`@click.pass_obj`)."""

    flag: Path | None
    as_json: bool
    hints: bool = True  # whether commands name the next one; `demo` runs them itself
    console: Console = field(default_factory=lambda: Harmless(highlight=False, emoji=False))
    errors: Console = field(default_factory=lambda: Harmless(stderr=True, highlight=False, emoji=False))

    @property
    def interactive(self) -> bool:
        """Whether a person sits at both ends."""
        return not self.as_json and self.console.is_terminal and sys.stdin.isatty()

    def workspace(self, *, create: bool = False) -> Workspace:
        return open_workspace(locate(self.flag), create=create)

    def say(self, text: str = "") -> None:
        """A line for people; silent with --json. Rich markup is allowed: escape what users typed."""
        if not self.as_json:
            self.console.print(text)

    def hint(self, text: str) -> None:
        """What to type next; silent inside `demo`."""
        if self.hints:
            self.say(text)

    def result(self, data: Any) -> None:
        """The command's result for machines; printed only with --json, exactly one document."""
        if self.as_json:
            click.echo(visible_json(json.dumps(data, ensure_ascii=False, default=str)))

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        right: Sequence[int] = (),
        whole: Sequence[int] = (),
    ) -> None:
        """A table for people. `right` names the columns (by index) that hold numbers, `whole` those never wrapped."""
        if self.as_json:
            return
        table = Table(
            title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
        )
        for index, column in enumerate(columns):
            side: Literal["left", "right"] = "right" if index in right else "left"
            table.add_column(column, justify=side, overflow="fold", no_wrap=index in whole)
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self.console.print(table)

    @contextmanager
    def progress(self) -> Iterator[Watch]:
        """Bars on stderr, one per stage; nothing when stderr is no terminal or with --json."""
        if self.as_json or not self.errors.is_terminal:
            yield lambda stage, done, total: None
            return
        columns = (
            TextColumn("{task.description}", markup=False),  # a stage may be the name of somebody's model
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.errors, transient=True) as bars:
            yield _watch(bars)


def _watch(bars: Progress) -> Watch:
    tasks: dict[str, TaskID] = {}
    last: dict[str, float] = {}

    def watch(stage: str, done: float, total: float | None) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(visible(stage), total=total)
        now = time.monotonic()
        # Ten redraws a second are enough; a reader calls this per message.
        if now - last.get(stage, 0.0) > 0.1 or (total is not None and done >= total):
            last[stage] = now
            bars.update(tasks[stage], completed=done, total=total)

    return watch
