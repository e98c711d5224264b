"""`tuneloop ask FILE`: a question, a click on its answer, one SELECT, the report as a page, what the table holds.

On a terminal and without any of these it is a menu (cli/ask_menu.py).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from tuneloop.ask.chart import chart
from tuneloop.ask.table import Table
from tuneloop.cli.ask_load import opened
from tuneloop.cli.ask_talk import draw, show_profile, show_rows, talk
from tuneloop.cli.show import Door
from tuneloop.texts import _, n_


@click.command(
    help=_(
        "Ask a table (CSV, TSV, Excel, Parquet, JSON lines, SQLite, a folder or archive of them, kaggle:OWNER/NAME)"
        " in plain words. It is loaded once, into the folder .tuneloop beside it; its rows go to no model."
        " Without a question: a menu on a terminal, else what the table holds."
        "\n\nExample: tuneloop ask sales.csv 'average price by region'"
    )
)
@click.argument("file", metavar="FILE")
@click.argument("question", required=False, metavar="[QUESTION]")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help=_("Draw the answer into this PNG file."))
@click.option(
    "--right", is_flag=True, help=_("The last answer was right: such questions are read this way from now on.")
)
@click.option(
    "--wrong",
    is_flag=False,
    flag_value="",
    metavar="[READING]",
    help=_("The last answer was wrong; READING is what was meant: one SELECT, or the question in other words."),
)
@click.option("--profile", is_flag=True, help=_("Show what the table holds, also on a terminal."))
@click.option("--sql", metavar="SELECT", help=_("Run one SELECT over the table, which is called t."))
@click.option("--report", "page", type=click.Path(path_type=Path), help=_("Write a page with plots to this file."))
@click.option("--most", default=50, show_default=True, help=_("Rows shown of a result."))
@click.option("--seconds", default=5.0, show_default=True, help=_("Stop a query after so many seconds."))
@click.option("--encoding", help=_("Encoding of a text file, like cp1251."))
@click.option("--separator", help=_("What separates cells; 'tab' for a tab."))
@click.option("--quote", help=_("What cells are quoted with; '' for nothing."))
@click.option("--decimal", type=click.Choice([",", "."]), help=_("Decimal mark."))
@click.option("--header", metavar="ROW", help=_("Row of the header; 3-4: its two rows; 0: there is none."))
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
    question: str | None,
    plot: Path | None,
    right: bool,
    wrong: str | None,
    profile: bool,
    sql: str | None,
    page: Path | None,
    most: int,
    seconds: float,
    cache: Path | None,
    as_text: tuple[str, ...],
    separator: str | None,
    **asked: Any,
) -> None:
    wanted = [question is not None, right, wrong is not None, sql is not None, page is not None, profile]
    if sum(wanted) > 1:
        raise click.UsageError(_("give one of: a question, --right, --wrong, --sql, --report, --profile"))
    asked["separator"] = "\t" if separator == "tab" else separator
    asked["kinds"] = dict.fromkeys(as_text, "text") or None
    table = opened(door, _path(file), cache=cache, **asked)
    code = 0
    try:
        if sql is not None:
            _query(door, table, sql, seconds=seconds, most=most, plot=plot)
        elif page is not None:
            _page(door, table, page)
        elif question is not None:
            code = talk(door, table, seconds, most).ask(question, plot=plot)
        elif right or wrong is not None:
            reading = wrong or ("" if right or not door.interactive else _meant())
            talk(door, table, seconds, most).click("right" if right else "wrong", reading)
        elif plot is not None:
            raise click.UsageError(_("--plot draws the answer to a question or to --sql"))
        elif profile or not door.interactive:
            show_profile(door, table)
        else:
            from tuneloop.cli.ask_menu import menu

            try:
                menu(talk(door, table, seconds, most))
            except KeyboardInterrupt:  # at the menu itself; what was chosen from it is stopped there
                door.say()
                code = 130
    finally:
        table.close()
    if code:
        click.get_current_context().exit(code)


def _meant() -> str:
    asked = _("What was meant? One SELECT, or the question in other words; Enter: only that it is wrong")
    return str(click.prompt(asked, default="", show_default=False))


def _path(file: str) -> Path:
    if file.startswith("kaggle:"):
        from tuneloop.ask.kaggle import fetched

        return fetched(file.removeprefix("kaggle:"))
    return Path(file).expanduser()


def _query(door: Door, table: Table, sql: str, *, seconds: float, most: int, plot: Path | None) -> None:
    started = time.perf_counter()
    result = table.run(sql, seconds=seconds, most=most)
    took = time.perf_counter() - started
    show_rows(door, result.columns, result.rows)
    shown = n_("{n} row, {seconds:.2f} s", "{n} rows, {seconds:.2f} s", len(result.rows)).format(
        n=len(result.rows), seconds=took
    )
    door.say(shown + (_("; there are more, see --most") if result.truncated else ""))
    drawn = draw(door, chart(result), plot, sql) if plot else None
    told = {"columns": result.columns, "rows": result.rows, "truncated": result.truncated, "sql": result.sql}
    door.result(told | ({"plot": drawn} if plot else {}))


def _page(door: Door, table: Table, path: Path) -> None:
    from tuneloop.ask.page import write

    write(table, path)
    door.say(_("written: {path}").format(path=escape(str(path))))
    door.result({"report": str(path)})
