"""`tuneloop ask FILE`: what a table holds, one SELECT over it, or its report as a page."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from tuneloop.ask.columns import Column
from tuneloop.ask.report import reasons, sentence, subject, sum_of_rows
from tuneloop.ask.table import Table, open_table
from tuneloop.cli.show import Door
from tuneloop.texts import _, n_


@click.command(
    help=_(
        "Open a table (CSV, TSV, Excel, Parquet, JSON lines, SQLite, a folder or archive of them, kaggle:OWNER/NAME)"
        " and show what it holds. It is loaded once, into the folder .tuneloop beside it."
        "\n\nExample: tuneloop ask sales.csv --sql 'SELECT region, avg(price) FROM t GROUP BY region'"
    )
)
@click.argument("file", metavar="FILE")
@click.option("--sql", metavar="SELECT", help=_("Run one SELECT over the table, which is called t."))
@click.option("--report", "page", type=click.Path(path_type=Path), help=_("Write a page with plots to this file."))
@click.option("--most", default=50, show_default=True, help=_("Rows shown of a result."))
@click.option("--seconds", default=5.0, show_default=True, help=_("Stop a query after so many seconds."))
@click.option("--encoding", help=_("Encoding of a text file, like cp1251."))
@click.option("--separator", help=_("What separates cells; 'tab' for a tab."))
@click.option("--quote", help=_("What cells are quoted with; '' for nothing."))
@click.option("--decimal", type=click.Choice([",", "."]), help=_("Decimal mark."))
@click.option("--header", type=click.IntRange(0, 100), help=_("Row of the header; 0: there is none."))
@click.option("--dates", type=click.Choice(["day", "month"]), help=_("What comes first in dates like 03/04/2021."))
@click.option("--sheet", help=_("Sheet of an Excel file."))
@click.option("--table", help=_("Table of a SQLite file."))
@click.option("--as-text", multiple=True, metavar="COLUMN", help=_("Keep a column as text (codes); may be repeated."))
@click.option("--cache", type=click.Path(path_type=Path), help=_("Folder for the loaded table; default: beside it."))
@click.pass_obj
def ask(
    door: Door,
    /,
    file: str,
    sql: str | None,
    page: Path | None,
    most: int,
    seconds: float,
    cache: Path | None,
    as_text: tuple[str, ...],
    separator: str | None,
    **asked: Any,
) -> None:
    asked["separator"] = "\t" if separator == "tab" else separator
    asked["kinds"] = dict.fromkeys(as_text, "text") or None
    table = open_table(_path(file), cache=cache, **asked)
    try:
        if sql is not None:
            _query(door, table, sql, seconds=seconds, most=most)
        elif page is not None:
            _page(door, table, page)
        else:
            _profile(door, table)
    finally:
        table.close()


def _path(file: str) -> Path:
    if file.startswith("kaggle:"):
        from tuneloop.ask.kaggle import fetched

        return fetched(file.removeprefix("kaggle:"))
    return Path(file).expanduser()


def _query(door: Door, table: Table, sql: str, *, seconds: float, most: int) -> None:
    started = time.perf_counter()
    result = table.run(sql, seconds=seconds, most=most)
    took = time.perf_counter() - started
    numbers = [n for n in range(len(result.columns)) if all(isinstance(r[n], int | float | None) for r in result.rows)]
    rows = [[None if cell is None else escape(str(cell)) for cell in row] for row in result.rows]
    door.table("", [escape(name) for name in result.columns], rows, right=numbers)
    shown = n_("{n} row, {seconds:.2f} s", "{n} rows, {seconds:.2f} s", len(rows)).format(n=len(rows), seconds=took)
    door.say(shown + (_("; there are more, see --most") if result.truncated else ""))
    door.result({"columns": result.columns, "rows": result.rows, "truncated": result.truncated, "sql": result.sql})


def _page(door: Door, table: Table, path: Path) -> None:
    from tuneloop.ask.page import write

    write(table, path)
    door.say(_("written: {path}").format(path=escape(str(path))))
    door.result({"report": str(path)})


def _profile(door: Door, table: Table) -> None:
    from tuneloop.ask.facts import askable, facts, warnings

    found = facts(table)
    door.say(escape(sum_of_rows(table.report)))
    for at, why, text in table.report.examples:
        shown = _("line {line}: {why}: {text}").format(line=at, why=reasons()[why], text=text.strip()[:100])
        door.say("  " + escape(shown))
    for finding in table.report.found:
        door.say(escape(f"{subject(finding)}: {finding.value} ({sentence(finding)})"))
    door.say()
    columns = (_("column"), _("kind"), _("missing"), _("different"), _("from"), _("to"), _("most frequent"))
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


def _row(column: Column) -> list[str]:
    kinds = {"number": _("number"), "text": _("text"), "date": _("date"), "bool": _("yes or no")}
    ends = [f"{end:,.6g}" if isinstance(end, float) else str(end or "") for end in (column.low, column.high)]
    kind = kinds[column.kind] + (f", {column.unit}" if column.unit else "")
    top = ", ".join(value[:24] for value in column.values[:3])
    return [escape(cell) for cell in (column.name, kind, f"{column.missing:,}", f"{column.distinct:,}", *ends, top)]
