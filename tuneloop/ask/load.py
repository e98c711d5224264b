"""Load a staged source into a columnar DuckDB file: decide kinds on a sample, read every cell, prove the count.

One pass over the file when the sample told the truth. Each pass also counts the cells that its SQL could not read; a
column with too many of them is decided again with those cells in view, and the pass repeated (three times at most).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneloop.ask.columns import literal, quoted
from tuneloop.ask.kinds import WIDE_BLANKS, Decision, Hints, decide, decide_all, trimmed_sql
from tuneloop.ask.staging import Staged

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLE_ROWS = 20_000
SAMPLE_CELLS = 2_000_000  # over all columns: wide tables are sampled with fewer rows
SAMPLE_DISTINCT = 3_000  # texts of a column that are looked at
PASSES = 3


@dataclass
class Loaded:
    """The decision for each column, and how many cells of it could not be read."""

    decisions: dict[str, Decision]
    unread: dict[str, int]
    rows: int
    taken_out: dict[str, int]  # reason -> rows that were read and are none


def load(connection: DuckDBPyConnection, staged: Staged, table: str, asked: dict[str, Any], size: int) -> Loaded:
    """Create `table` from a staged source. asked: overrides of the user ("decimal", "dates", "kinds").

    Raises what DuckDB raises when it cannot read the file as staged.
    """
    samples, thorough = _samples(connection, staged, size)
    hints = Hints(asked.get("decimal", ""), asked.get("dates", ""))
    decisions = decide_all(samples, hints, comma_country=staged.comma_country)
    for name, kind in asked.get("kinds", {}).items():
        if kind == "text" and name in decisions:
            decisions[name] = Decision("text")
    unread: dict[str, int] = {}
    for _pass in range(PASSES):
        connection.execute(f"CREATE OR REPLACE TABLE {quoted(table)} AS {_select(staged, decisions, thorough)}")
        unread = _unread(connection, table, staged)
        again, wider = _second_thoughts(connection, staged, table, decisions, unread, samples, hints, thorough)
        if not again and not wider:
            break
        decisions |= again
        thorough |= wider
    else:
        decisions |= {name: Decision("text") for name in again}
        connection.execute(f"CREATE OR REPLACE TABLE {quoted(table)} AS {_select(staged, decisions, thorough)}")
        unread = _unread(connection, table, staged)
    connection.execute(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(UNREAD)}")
    taken = _take_out(connection, staged, table)
    rows = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()
    return Loaded(decisions, unread, rows[0] if rows else 0, taken)


UNREAD = "unread cells of this row\x1f"  # a name no header can give: unprintable characters are taken out of those


def _samples(connection: DuckDBPyConnection, staged: Staged, size: int) -> tuple[dict[str, dict[str, int]], set[str]]:
    """Distinct texts of each text column and how often they come in a sample; columns with wide blanks at ends."""
    limit = max(1_000, min(SAMPLE_ROWS, SAMPLE_CELLS // max(1, len(staged.names))))
    # Small files are sampled all over; of large ones the head is read, and what lies further on may ask for a pass.
    how = f"USING SAMPLE reservoir({limit} ROWS) REPEATABLE (7)" if size < 64 << 20 else f"LIMIT {limit}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE sample AS SELECT * FROM {staged.relation} {how}")
    found: dict[str, dict[str, int]] = {}
    thorough: set[str] = set()
    for n, name in enumerate(staged.names):
        if staged.given and staged.given[n] != "VARCHAR":
            continue
        rows = connection.execute(
            f"SELECT {trimmed_sql(f'c{n}')} AS cell, count(*) AS n FROM sample GROUP BY cell HAVING cell IS NOT NULL"
            f" ORDER BY n DESC, cell LIMIT {SAMPLE_DISTINCT}"
        ).fetchall()
        found[name], wide = _stripped(rows)
        thorough |= {name} if wide else set()
    connection.execute("DROP TABLE sample")
    return found, thorough


def _stripped(rows: list[tuple[str, int]]) -> tuple[dict[str, int], bool]:
    """Cells without wide blanks at their ends, and whether there were any."""
    cells: Counter[str] = Counter()
    for cell, n in rows:
        cells[cell.strip(WIDE_BLANKS + " \t\r\n")] += n
    wide = any(cell[0] in WIDE_BLANKS or cell[-1] in WIDE_BLANKS for cell, _n in rows)
    del cells[""]
    return dict(cells), wide


def _select(staged: Staged, decisions: dict[str, Decision], thorough: set[str]) -> str:
    """The query that reads every cell, in three layers: trimmed, read, and which could not be read."""
    trimmed, read, marks, shown = [], [], [], []
    for n, name in enumerate(staged.names):
        shown.append(f"r{n} AS {quoted(name)}")
        if name not in decisions:  # not a text: DuckDB read it
            trimmed.append(f"c{n} AS v{n}")
            read.append(f"v{n} AS r{n}")
            continue
        trimmed.append(f"{trimmed_sql(f'c{n}', thorough=name in thorough)} AS v{n}")
        how = decisions[name]
        read.append(f"{how.sql(f'v{n}')} AS r{n}")
        if how.kind != "text":
            read.append(f"v{n}")
            marks.append(f"CASE WHEN {how.unread_sql(f'v{n}', f'r{n}')} THEN '{n}' END")
    mark = f"nullif(concat_ws(',', {', '.join(marks)}), '')" if marks else "CAST(NULL AS VARCHAR)"
    return (
        f"SELECT {', '.join(shown)}, {mark} AS {quoted(UNREAD)} FROM (SELECT {', '.join(read)} FROM"
        f" (SELECT {', '.join(trimmed)} FROM {staged.relation}))"
    )


def _unread(connection: DuckDBPyConnection, table: str, staged: Staged) -> dict[str, int]:
    """Cells of each column that hold something and were not read."""
    name = quoted(UNREAD)
    counts: Counter[str] = Counter()
    for marks, n in connection.execute(
        f"SELECT {name}, count(*) FROM {quoted(table)} WHERE {name} IS NOT NULL GROUP BY 1"
    ).fetchall():
        for column in marks.split(","):
            counts[staged.names[int(column)]] += n
    return dict(counts)


def _second_thoughts(
    connection: DuckDBPyConnection,
    staged: Staged,
    table: str,
    decisions: dict[str, Decision],
    unread: dict[str, int],
    samples: dict[str, dict[str, int]],
    hints: Hints,
    thorough: set[str],
) -> tuple[dict[str, Decision], set[str]]:
    """New decisions for columns whose unread cells, seen together with the sample, make them another kind; and the
    columns where only wide blanks were in the way."""
    changed: dict[str, Decision] = {}
    wider: set[str] = set()
    for name in unread:
        n, old = staged.names.index(name), decisions[name]
        trimmed = trimmed_sql(f"c{n}", thorough=name in thorough)
        rows = connection.execute(
            f"SELECT v, count(*) FROM (SELECT v, {old.sql('v')} AS r FROM (SELECT {trimmed} AS v FROM"
            f" {staged.relation})) WHERE {old.unread_sql('v', 'r')} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000"
        ).fetchall()
        cells, wide = _stripped(rows)
        wider |= {name} if wide and name not in thorough else set()
        # The sample stands for the whole column: its counts are scaled up to the rows that were read.
        read = {cell: n for cell, n in samples[name].items() if cell not in cells}
        total = connection.execute(f"SELECT count({quoted(name)}) FROM {quoted(table)}").fetchone()
        scale = max(1.0, (total[0] if total else 0) / max(1, sum(read.values())))
        samples[name] = {cell: round(n * scale) for cell, n in read.items()} | cells
        new = decide(name, samples[name], hints)
        if (new.kind, new.numeral, new.moment) != (old.kind, old.numeral, old.moment):
            changed[name] = new
        else:
            decisions[name] = new  # the same reading, with the stray cells to show
    return changed, wider


def _take_out(connection: DuckDBPyConnection, staged: Staged, table: str) -> dict[str, int]:
    """Delete rows that are none: without any cell, or the header once more (reason -> rows)."""
    conditions = {"no cells": " AND ".join(f"{quoted(name)} IS NULL" for name in staged.names)}
    if staged.header:
        described = connection.execute(f"DESCRIBE {quoted(table)}").fetchall()
        texts = [name for name, kind, *_rest in described if kind == "VARCHAR"]
        if texts:
            conditions["header again"] = " AND ".join(
                f"{quoted(name)} = {literal(cell.strip())}" if name in texts else f"{quoted(name)} IS NULL"
                for name, cell in zip(staged.names, staged.header, strict=True)
                if cell.strip()
            )
    taken: dict[str, int] = {}
    for reason, condition in conditions.items():
        found = connection.execute(f"SELECT count(*) FROM {quoted(table)} WHERE {condition}").fetchone()
        if found and found[0]:
            connection.execute(f"DELETE FROM {quoted(table)} WHERE {condition}")
            taken[reason] = found[0]
    return taken
