"""Ask, show and click: what a question on the command line and one in the menu have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from tuneloop import texts
from tuneloop.ask import clicks, memory
from tuneloop.ask.chart import Chart, lines, write_png
from tuneloop.ask.clicks import Beside, Rows, Shelf
from tuneloop.ask.columns import Column
from tuneloop.ask.memory import Verdict
from tuneloop.ask.question import Reading
from tuneloop.ask.reply import Other, Reply, as_json, reply
from tuneloop.ask.report import in_words, reasons, sentence, subject, sum_of_rows
from tuneloop.ask.table import Table
from tuneloop.cli.show import Door
from tuneloop.errors import BadInput, NotEnoughData, Refused
from tuneloop.texts import _, n_
from tuneloop.workspace import Workspace, locate, open_workspace

NARROW = 70  # columns of a terminal under which seven columns of a table break words into pieces
EXIT_CODES = {"answered": 0, "unknown": NotEnoughData.exit_code, "refused": Refused.exit_code}


@dataclass(frozen=True)
class Talk:
    """A table, and where its answers and clicks are kept. `source`: its name there."""

    door: Door
    table: Table
    shelf: Shelf
    source: str
    seconds: float
    most: int
    other: Other | None = None  # asked what the reader does not know

    def ask(self, question: str, *, plot: Path | None = None) -> int:
        """Answer, show, keep; returns the exit code: 0, 4 where no column holds it, 5 for an order to change rows."""
        known = self.shelf.known(memory.mark(self.table.profile))
        found = reply(self.table, question, known, other=self.other, seconds=self.seconds, most=self.most)
        answer = clicks.noted(self.shelf, self.table, self.source, found)
        show(self.door, found)
        drawn = draw(self.door, found.chart, plot, question) if plot and found.state == "answered" else None
        self.door.result({"id": answer.id, **as_json(found), "plot": drawn})
        return EXIT_CODES[found.state]

    def click(self, verdict: Verdict, reading: str = "") -> None:
        """Say of the last answer that it was right, or wrong and what was meant."""
        answer = clicks.last(self.shelf, self.source)
        self.door.say(escape(f"{answer.question} — {answer.sentence}"))
        kept = clicks.click(self.shelf, self.table, answer, verdict, reading=reading)
        for one in kept:
            said = _("kept as right: {sql}") if one.verdict == "right" else _("kept as wrong: {sql}")
            self.door.say(escape(said.format(sql=one.sql)))
        self.door.result({"question": answer.question, "kept": [[one.verdict, one.sql] for one in kept]})


def talk(door: Door, table: Table, seconds: float, most: int) -> Talk:
    """Over the rows of the workspace where there is one, else over files beside the loaded table."""
    place = locate(door.flag)
    if door.flag is not None or (place / "tuneloop.toml").exists():
        workspace = open_workspace(place)
        source, other = str(table.path.absolute()), _model(workspace)
        return Talk(door, table, Rows(workspace), source, seconds, most, other)
    return Talk(door, table, Beside(table.database.parent), table.path.name, seconds, most)


def _model(workspace: Workspace) -> Other | None:
    """The model that the setting ask.model names, in its engine of tuneloop.toml."""
    setting = workspace.settings.text("ask.model")
    if not setting:
        return None

    async def ask(question: str, table: Table) -> Reading:
        from tuneloop.answer import quality
        from tuneloop.answer.book import read
        from tuneloop.ask.by_model import tried
        from tuneloop.gateway.engines import Engines

        engines = Engines(workspace, None)
        engines.follow(read(workspace.path / "tuneloop.toml"))
        try:
            judge = quality.named(setting, engines.stations)
            assert judge is not None  # the setting is not empty
            return await tried(judge, question, table)
        finally:
            await engines.close()

    return lambda question, table: asyncio.run(ask(question, table))


def show(door: Door, found: Reply) -> None:
    """The sentence, bars or rows where there are several, the SQL, how sure and why, in the question's language."""
    with texts.speaking(found.language):
        door.say("[bold]" + escape(found.sentence) + "[/bold]")
        if found.state != "answered":
            if found.askable and found.state == "unknown":
                door.say(_("Ask for example:"))
            for line in found.askable if found.state == "unknown" else ():
                door.say("  " + escape(line))
            return
        bars = lines(found.chart, door.console.width) if found.chart and found.chart.kind == "bars" else []
        for line in bars:
            door.say(escape(line))
        if not bars and len(found.rows) > 1:
            show_rows(door, found.columns, found.rows)
        if found.truncated:
            door.say(
                n_(
                    "{n} row shown; there are more, see --most",
                    "{n} rows shown; there are more, see --most",
                    len(found.rows),
                ).format(n=len(found.rows))
            )
        sure = _("{percent} % sure: {why}").format(percent=round(100 * found.sure), why=found.why)
        door.say(f"[dim]{escape(found.sql or '')}\n{escape(sure)}[/dim]")


def show_rows(door: Door, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A result as a table."""
    numbers = [n for n in range(len(columns)) if all(isinstance(row[n], int | float | None) for row in rows)]
    cells = [[None if cell is None else escape(str(cell)) for cell in row] for row in rows]
    door.table("", [escape(name) for name in columns], cells, right=numbers)


def draw(door: Door, drawn: Chart | None, path: Path, title: str) -> str | None:
    """Write the plot; None, and a word, where the answer is none that can be drawn. Raises BadInput for a bad name."""
    if drawn is None:
        if path.suffix.lower() != ".png":
            raise BadInput(
                _("'{name}' is no name of a PNG file").format(name=path.name), fix=_("Name it like plot.png.")
            )
        door.say(_("Nothing was drawn: a plot needs groups, like “by region” or “by month”."))
        return None
    write_png(drawn, path, title)
    door.say(_("written: {path}").format(path=escape(str(path))))
    return str(path)


def show_profile(door: Door, table: Table) -> None:
    """What the table holds, what to beware of, what to ask for example."""
    from tuneloop.ask.facts import askable, facts, warnings

    found = facts(table)
    door.say(escape(sum_of_rows(table.report)))
    for at, why, text in table.report.examples:
        shown = _("line {line}: {why}: {text}").format(line=at, why=reasons()[why], text=text.strip()[:100])
        door.say("  " + escape(shown))
    for finding in table.report.found:
        door.say(escape(f"{subject(finding)}: {in_words(finding)} ({sentence(finding)})"))
    door.say()
    columns = (_("column"), _("kind"), _("missing"), _("different"), _("at least"), _("at most"), _("most frequent"))
    if door.console.width < NARROW:
        for column in table.profile.columns:
            _told(door, columns, _row(column))
    else:
        door.table("", columns, [_row(c) for c in table.profile.columns], right=(2, 3, 4, 5))
    beware, examples = warnings(table, found), askable(table.profile)
    if beware:
        door.say("\n[bold]" + escape(_("Beware")) + "[/bold]")
        for line in beware:
            door.say("  " + escape(line))
    if examples:
        door.say("\n[bold]" + escape(_("Ask for example")) + "[/bold]")
        for line in examples:
            door.say("  " + escape(line))
    door.result(
        {
            "profile": asdict(table.profile),
            "report": asdict(table.report),
            "warnings": beware,
            "askable": examples,
            "database": str(table.database),
        }
    )


def _told(door: Door, heads: Sequence[str], row: Sequence[str]) -> None:
    """A column of the table on a narrow terminal: its name, then a line with each thing known of it."""
    door.say(f"[bold]{row[0]}[/bold]: {row[1]}")
    for head, cell in zip(heads[2:], row[2:], strict=True):
        if cell and cell != "0":
            door.say(f"  {head}: {cell}")


def _row(column: Column) -> list[str]:
    kinds = {"number": _("number"), "text": _("text"), "date": _("date"), "bool": _("yes or no")}
    ends = [f"{end:,.6g}" if isinstance(end, float) else str(end or "") for end in (column.low, column.high)]
    kind = kinds[column.kind] + (f", {column.unit}" if column.unit else "")
    top = ", ".join(value[:24] for value in column.values[:3])
    return [escape(cell) for cell in (column.name, kind, f"{column.missing:,}", f"{column.distinct:,}", *ends, top)]
