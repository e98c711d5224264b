"""Load a staged source into a columnar DuckDB file: decide kinds on a sample, read every cell, prove the count.

One pass over the file when the sample told the truth. Each pass also counts the cells that its SQL could not read; a
column with too many of them is decided again with those cells in view, and the pass repeated (three times at most).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneloop.ask.columns import quoted
from tuneloop.ask.kinds import TRIMMED, Decision, Hints, decide, decide_all
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
    empty: int  # rows without any cell, taken out again


def load(connection: DuckDBPyConnection, staged: Staged, table: str, asked: dict[str, Any], size: int) -> Loaded:
    """Create `table` from a staged source. asked: overrides of the user ("decimal", "dates", "kinds").

    Raises what DuckDB raises when it cannot read the file as staged.
    """
    samples = _samples(connection, staged, size)
    hints = Hints(asked.get("decimal", ""), asked.get("dates", ""))
    decisions = decide_all(samples, hints, comma_country=staged.comma_country)
    for name, kind in asked.get("kinds", {}).items():
        if kind == "text" and name in decisions:
            decisions[name] = Decision("text")
    unread: dict[str, int] = {}
    for _pass in range(PASSES):
        connection.execute(f"CREATE OR REPLACE TABLE {quoted(table)} AS {_select(staged, decisions)}")
        unread = _unread(connection, table, staged)
        again = {n: d for n, d in _second_thoughts(connection, staged, decisions, unread, samples, hints)}
        if not again:
            break
        decisions |= again
    else:
        decisions |= {name: Decision("text") for name in again}
        connection.execute(f"CREATE OR REPLACE TABLE {quoted(table)} AS {_select(staged, decisions)}")
        unread = _unread(connection, table, staged)
    connection.execute(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(UNREAD)}")
    return Loaded(decisions, unread, *_without_empty_rows(connection, staged, table))


UNREAD = "unread cells of this row\x1f"  # a name no header can give: unprintable characters are taken out of those


def _samples(connection: DuckDBPyConnection, staged: Staged, size: int) -> dict[str, dict[str, int]]:
    """Distinct texts of each text column and how often they come in a sample."""
    limit = max(1_000, min(SAMPLE_ROWS, SAMPLE_CELLS // max(1, len(staged.names))))
    # Small files are sampled all over; of large ones the head is read, and what lies further on may ask for a pass.
    how = f"USING SAMPLE reservoir({limit} ROWS) REPEATABLE (7)" if size < 64 << 20 else f"LIMIT {limit}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE sample AS SELECT * FROM {staged.relation} {how}")
    found = {}
    for n, name in enumerate(staged.names):
        if staged.given and staged.given[n] != "VARCHAR":
            continue
        rows = connection.execute(
            f"SELECT trim(c{n}, {TRIMMED}) AS cell, count(*) AS n FROM sample GROUP BY cell HAVING cell <> ''"
            f" ORDER BY n DESC, cell LIMIT {SAMPLE_DISTINCT}"
        ).fetchall()
        found[name] = dict(rows)
    connection.execute("DROP TABLE sample")
    return found


def _select(staged: Staged, decisions: dict[str, Decision], where: str = "") -> str:
    """The query that reads every cell, in three layers: trimmed, read, and which could not be read."""
    trimmed, read, marks, shown = [], [], [], []
    for n, name in enumerate(staged.names):
        if name not in decisions:
            trimmed.append(f"c{n} AS v{n}")
            read.append(f"v{n} AS r{n}")
        else:
            trimmed.append(f"nullif(trim(c{n}, {TRIMMED}), '') AS v{n}")
            read.append(f"v{n}, {decisions[name].sql(f'v{n}')} AS r{n}" if decisions[name].kind != "text" else f"{decisions[name].sql(f'v{n}')} AS r{n}")
            if decisions[name].kind != "text":
                marks.append(f"CASE WHEN {decisions[name].unread_sql(f'v{n}', f'r{n}')} THEN '{n}' END")
        shown.append(f"r{n} AS {quoted(name)}")
    mark = f"nullif(concat_ws(',', {', '.join(marks)}), '')" if marks else "CAST(NULL AS VARCHAR)"
    return (
        f"SELECT {', '.join(shown)}, {mark} AS {quoted(UNREAD)} FROM (SELECT {', '.join(read)} FROM"
        f" (SELECT {', '.join(trimmed)} FROM {staged.relation})){where}"
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
    decisions: dict[str, Decision],
    unread: dict[str, int],
    samples: dict[str, dict[str, int]],
    hints: Hints,
) -> list[tuple[str, Decision]]:
    """New decisions for columns whose unread cells, seen together with the sample, make them another kind."""
    changed = []
    for name in unread:
        n = staged.names.index(name)
        old = decisions[name]
        rows = connection.execute(
            f"SELECT v{n}, count(*) FROM (SELECT v{n}, {old.sql(f'v{n}')} AS r{n} FROM"
            f" (SELECT nullif(trim(c{n}, {TRIMMED}), '') AS v{n} FROM {staged.relation}))"
            f" WHERE {old.unread_sql(f'v{n}', f'r{n}')} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000"
        ).fetchall()
        read = {cell: n for cell, n in samples[name].items() if cell not in dict(rows)}
        # The sample stands for the whole column: its counts are scaled up to the rows that were read.
        total = connection.execute(f"SELECT count({quoted(name)}) FROM t").fetchone()
        scale = max(1.0, (total[0] if total else 0) / max(1, sum(read.values())))
        samples[name] = {cell: round(n * scale) for cell, n in read.items()} | dict(rows)
        new = decide(name, samples[name], hints)
        if _way(new) != _way(old):
            changed.append((name, new))
        else:
            decisions[name] = new
    return changed


def _way(one: Decision) -> tuple[object, ...]:
    return (one.kind, one.numeral, one.moment)


def _without_empty_rows(connection: DuckDBPyConnection, staged: Staged, table: str) -> tuple[int, int]:
    """(rows kept, rows taken out because no cell of them is filled)."""
    every = ", ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in staged.names)
    condition = f"coalesce({every}) IS NULL" if len(staged.names) > 1 else f"{quoted(staged.names[0])} IS NULL"
    empty = connection.execute(f"SELECT count(*) FROM {quoted(table)} WHERE {condition}").fetchone()
    if empty and empty[0]:
        connection.execute(f"DELETE FROM {quoted(table)} WHERE {condition}")
    rows = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()
    return (rows[0] if rows else 0), (empty[0] if empty else 0)


