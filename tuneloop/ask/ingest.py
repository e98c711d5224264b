"""A file of any kind becomes a columnar DuckDB file: what the loading child does from start to end.

Runs in a child process (tuneloop.child) because the file is anybody's. Everything is written into a scratch folder;
the caller moves the finished file into its place.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop.ask import columns as columns_
from tuneloop.ask import report as report_
from tuneloop.ask.load import Loaded, load
from tuneloop.ask.profile import profile
from tuneloop.ask.report import Finding, Report
from tuneloop.ask.staging import Staged, exact, fast, understood
from tuneloop.errors import BadInput, OutOfResources
from tuneloop.texts import _

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "280MB"  # of DuckDB's buffers; with Python and the readers the process stays under 500 MB


def ingest(source: Path, scratch: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Load `source` into scratch/table.duckdb; return {"profile": ..., "report": ...} as JSON values.

    Raises BadInput when it is no table, or when most of its rows do not fit.
    """
    import duckdb

    started = time.monotonic()
    config: dict[str, Any] = {
        "memory_limit": MEMORY,
        "threads": "2",
        "temp_directory": str(scratch / "spill"),
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    connection = duckdb.connect(str(scratch / "table.duckdb"), config=config)
    try:
        staged, loaded = _loaded(connection, source, scratch, asked)
        units = {name: d.numeral.unit for name, d in loaded.decisions.items() if d.numeral}
        seen = profile(connection, "t", units)
        connection.execute("CHECKPOINT")
    except duckdb.OutOfMemoryException:
        raise OutOfResources(
            _("the table needs more memory than loading may take ({memory})").format(memory=MEMORY),
            fix=_("Leave out columns that nobody asks about."),
        ) from None
    finally:
        connection.close()
    told = told_of(source, staged, loaded, time.monotonic() - started)
    assert told.adds_up(), "a row was lost without a reason"
    return {"profile": columns_.as_json(seen), "report": report_.as_json(told)}


def _loaded(
    connection: DuckDBPyConnection, source: Path, scratch: Path, asked: dict[str, Any]
) -> tuple[Staged, Loaded]:
    size = source.stat().st_size
    text = understood(source, asked)
    if quick := fast(text):
        loaded = _proved(connection, quick, source, asked)
        if loaded:
            return quick, loaded
    staged = exact(text, scratch / "clean.csv")
    _refuse_misfit(staged)
    loaded = load(connection, staged, "t", asked, size)
    _account(staged, loaded)
    return staged, loaded


def _proved(connection: DuckDBPyConnection, staged: Staged, source: Path, asked: dict[str, Any]) -> Loaded | None:
    """Load by DuckDB's own reader; None when it refuses, or when its rows and the file's lines do not add up."""
    import duckdb

    from tuneloop.ask.lines import blank_lines, count_lines, line_ends_in

    try:
        loaded = load(connection, staged, "t", asked, source.stat().st_size)
    except duckdb.Error:  # a row too short, a stray quote, bytes that are no UTF-8: the exact reader tells which
        return None
    count = staged.count
    count.lines = count_lines(source)
    count.loaded = loaded.rows + loaded.empty
    if not count.adds_up():
        count.continued = line_ends_in(connection, "t", staged.names)
        count.blank = blank_lines(source) if count.lines > count.loaded + count.continued else 0
    if not count.adds_up():
        return None
    _account(staged, loaded)
    return loaded


def _account(staged: Staged, loaded: Loaded) -> None:
    """Move rows without any cell from the loaded to the rejected."""
    if loaded.rows + loaded.empty != staged.count.loaded:
        raise AssertionError("DuckDB read another number of rows than were written for it")
    staged.count.loaded = loaded.rows
    if loaded.empty:
        staged.count.rejected["no cells"] += loaded.empty


def _refuse_misfit(staged: Staged) -> None:
    count = staged.count
    lost = sum(count.rejected.values())
    if lost > count.loaded:
        line, why, text = count.examples[0]
        raise BadInput(
            _("{lost:,} of {all:,} rows do not fit the columns found; line {line}: {why}: {text}").format(
                lost=lost, all=lost + count.loaded, line=line, why=report_.reasons()[why], text=text.strip()[:80]
            ),
            fix=_("Say how it is written with --separator, --encoding, --header, or save it again as CSV."),
        )
    if not count.loaded:
        raise BadInput(_("the file has no rows under its header"), fix=_("Choose a file with rows in it."))


def told_of(source: Path, staged: Staged, loaded: Loaded, seconds: float) -> Report:
    """The report of a load."""
    count = staged.count
    unread = {
        name: (n, loaded.decisions[name].stray) for name, n in sorted(loaded.unread.items()) if name in loaded.decisions
    }
    return Report(
        source=source.name,
        form=staged.form,
        size=source.stat().st_size,
        physical=count.lines,
        loaded=count.loaded,
        above=count.above,
        header=count.header,
        blank=count.blank,
        continued=count.continued,
        rejected=dict(count.rejected),
        examples=tuple(count.examples),
        padded=count.padded,
        unread=unread,
        found=(*staged.found, *_written(loaded)),
        seconds=round(seconds, 3),
        reader=staged.reader,
    )


def _written(loaded: Loaded) -> list[Finding]:
    """What the columns tell of decimal mark and order of dates."""
    made = []
    comma = [
        n
        for n, d in loaded.decisions.items()
        if d.numeral and d.numeral.style in ("comma", "blank comma", "point comma")
    ]
    point = [n for n, d in loaded.decisions.items() if d.numeral and n not in comma and not d.numeral.whole]
    thousands = [
        n for n, d in loaded.decisions.items() if d.numeral and d.numeral.style == "comma point" and d.numeral.whole
    ]
    for value, names in ((",", comma), (".", [*point, *thousands])):
        if names:
            unsure = [n for n in names if (d := loaded.decisions[n].numeral) and d.ambiguous]
            made.append(_finding("decimal", value, names, unsure))
    for layout, value in (("dmy", "day first"), ("mdy", "month first"), ("ymd", "year first")):
        names = [n for n, d in loaded.decisions.items() if d.moment and d.moment.layout == layout]
        if names:
            unsure = [n for n in names if (m := loaded.decisions[n].moment) and m.ambiguous]
            made.append(_finding("dates", value, names, unsure))
    return made


def _finding(what: str, value: str, names: list[str], unsure: list[str]) -> Finding:
    shown = unsure or names
    listed = ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")
    return Finding(what, value, "guess" if unsure else "columns", {"columns": listed})
