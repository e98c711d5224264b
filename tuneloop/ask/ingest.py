"""A file of any kind becomes a columnar DuckDB file: what the loading child does from start to end.

Runs in a child process (tuneloop.child) because the file is anybody's. Everything is written into a scratch folder;
the caller moves the finished file into its place.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop.ask import columns as columns_
from tuneloop.ask import pace
from tuneloop.ask import report as report_
from tuneloop.ask.columns import quoted
from tuneloop.ask.damage import damage
from tuneloop.ask.lines import blank_lines, count_lines, line_ends_in
from tuneloop.ask.load import Loaded, load
from tuneloop.ask.profile import profile
from tuneloop.ask.report import Finding, Report
from tuneloop.ask.sources import excel, form, json_rows, parquet, sqlite, sqlite_tables
from tuneloop.ask.staging import Staged, exact, fast, understood
from tuneloop.ask.together import tables_in, united, unpacked
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
        with damage(source):
            staged, loaded = _loaded(connection, source, scratch, asked)
            units = {name: d.numeral.unit for name, d in loaded.decisions.items() if d.numeral}
            seen = profile(connection, "t", units)
            names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
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
    tables = sorted({"t", *names})
    return {"profile": columns_.as_json(seen), "report": report_.as_json(told), "tables": tables}


def _loaded(
    connection: DuckDBPyConnection, source: Path, scratch: Path, asked: dict[str, Any]
) -> tuple[Staged, Loaded]:
    """Stage and load the table `t`: fast where every file allows it and the count proves it, else row by row."""
    kind = form(source)
    if kind in ("zip", "gzip"):
        source = unpacked(source, scratch / "unpacked")
        kind = form(source)
    if kind == "sqlite":
        return _all_tables(connection, source, scratch, asked)
    size = size_of(source)
    with pace.reading(pace.READING, size):
        staged = _staged(connection, source, kind, scratch, asked, quick=True)
    if staged.reader == "fast" and (loaded := _proved(connection, staged, asked, size)):
        _refuse_misfit(staged)
        return staged, loaded
    if staged.reader == "fast":
        with pace.reading(pace.READING, size):
            staged = _staged(connection, source, kind, scratch, asked, quick=False)
    _refuse_misfit(staged)
    with pace.reading(pace.STORING, _copied(scratch) or size):
        loaded = load(connection, staged, "t", asked, size)
    _account(staged, loaded)
    return staged, loaded


def _staged(
    connection: DuckDBPyConnection, source: Path, kind: str, scratch: Path, asked: dict[str, Any], *, quick: bool
) -> Staged:
    """Stage a file or a folder. quick: let DuckDB read text files itself where it may."""

    def one(file: Path, n: int) -> Staged:
        copy = scratch / f"clean{n}.csv"
        match form(file):
            case "text":
                text = understood(file, asked)
                return (quick and fast(text)) or exact(text, copy)
            case "excel":
                return excel(file, asked, copy)
            case "json":
                return json_rows(file, asked, copy)
            case "parquet":
                return parquet(connection, file)
            case "gzip":
                return one(unpacked(file, scratch / f"unpacked{n}{'' if quick else 'again'}"), n)
            case other:
                raise BadInput(_("a file of this kind ({kind}) cannot be one of many").format(kind=other), fix="")

    return united(tables_in(source), source, one) if kind == "folder" else one(source, 0)


def _all_tables(
    connection: DuckDBPyConnection, source: Path, scratch: Path, asked: dict[str, Any]
) -> tuple[Staged, Loaded]:
    """Load every table of a SQLite file; `t` is the asked one, or the longest."""
    tables = sqlite_tables(source)
    wanted = asked.get("table")
    if not tables:
        raise BadInput(_("{name} holds no table").format(name=source.name), fix=_("Choose a file with rows in it."))
    if wanted and wanted not in tables:
        raise BadInput(
            _("there is no table '{name}'").format(name=wanted),
            fix=_("Its tables are: {names}.").format(names=", ".join(tables)),
        )
    main = wanted or max(tables, key=lambda name: tables[name])
    results = {}
    for n, name in enumerate(tables):
        if name.lower() == "t" and name != main:
            continue
        staged = sqlite(source, name, asked, scratch / f"clean{n}.csv")
        loaded = load(connection, staged, name, asked, size_of(source))
        _account(staged, loaded)
        results[name] = (staged, loaded)
    if main.lower() != "t":
        connection.execute(f"CREATE VIEW t AS SELECT * FROM {quoted(main)}")
    staged, loaded = results[main]
    _refuse_misfit(staged)
    others = ", ".join(name for name in tables if name != main)
    how = "asked" if wanted else "largest" if others else "single"
    staged.found.insert(0, Finding("table", main, how, {"others": others} if how == "largest" else {}))
    return staged, loaded


def size_of(source: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(f.stat().st_size for f in source.rglob("*") if f.is_file()) if source.is_dir() else source.stat().st_size


def _copied(scratch: Path) -> int:
    """Bytes of the clean copies made of a source."""
    return sum(copy.stat().st_size for copy in scratch.glob("clean*.csv"))


def _proved(connection: DuckDBPyConnection, staged: Staged, asked: dict[str, Any], size: int) -> Loaded | None:
    """Load by DuckDB's own reader; None when it refuses, or when its rows and the files' lines do not add up."""
    import duckdb

    count = staged.count
    with pace.reading(pace.COUNTING, size):
        lines = [count_lines(file) for file in staged.files]
    if any(zero for _lines, zero in lines):  # DuckDB loads zero bytes, and later no query finds such a cell
        return None
    count.lines = sum(n for n, _zero in lines)
    try:
        with pace.reading(pace.READING, size, lambda share: int(share * count.lines)):
            loaded = load(connection, staged, "t", asked, size)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:  # a row too short, a stray quote, bytes that are no UTF-8: the exact reader tells which
        return None
    count.loaded = loaded.rows + sum(loaded.taken_out.values())
    if not count.adds_up():
        count.continued = line_ends_in(connection, "t", staged.names)
        if count.lines > count.loaded + count.continued:
            count.blank = sum(blank_lines(file) for file in staged.files)
    if not count.adds_up():
        return None
    _account(staged, loaded)
    return loaded


def _account(staged: Staged, loaded: Loaded) -> None:
    """Move rows that turned out to be none from the loaded to the rejected."""
    if loaded.rows + sum(loaded.taken_out.values()) != staged.count.loaded:
        raise AssertionError("DuckDB read another number of rows than were written for it")
    staged.count.loaded = loaded.rows
    staged.count.rejected.update(loaded.taken_out)


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
        size=size_of(source),
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
