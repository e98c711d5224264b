"""Count what a loaded table holds: kinds, ranges, categories, missing, outliers, duplicate rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneloop.ask.columns import MOST_VALUES, Column, Kind, Profile, quoted
from tuneloop.ask.pace import PROFILING
from tuneloop.child import tell

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EXACT_ROWS = 2_000_000  # up to here distinct values are counted, beyond estimated (HyperLogLog, about 2 %)
LONGEST_VALUE = 200  # characters; longer texts are prose, not categories


def profile(connection: DuckDBPyConnection, table: str, units: dict[str, str]) -> Profile:
    """The profile of a table. units: column name -> what stood beside its numbers."""
    described = connection.execute(f"DESCRIBE {quoted(table)}").fetchall()
    total = _one(connection, f"SELECT count(*) FROM {quoted(table)}")[0]
    columns: list[Column] = []
    for name, kind, *_rest in described:
        tell(PROFILING, len(columns), len(described))
        columns.append(_column(connection, table, name, kind, total, units.get(name, "")))
    tell(PROFILING, len(columns), len(described))
    return Profile(table, total, tuple(columns))


def kind_of(sql_type: str) -> Kind:
    """The kind of a DuckDB type."""
    if sql_type == "BOOLEAN":
        return "bool"
    if sql_type.startswith(("DATE", "TIMESTAMP")):
        return "date"
    numbers = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
    return "number" if sql_type in (*numbers, "UHUGEINT", "FLOAT", "DOUBLE") or sql_type.startswith("DEC") else "text"


def _column(connection: DuckDBPyConnection, table: str, name: str, sql_type: str, rows: int, unit: str) -> Column:
    kind, column = kind_of(sql_type), quoted(name)
    distinct = f"count(DISTINCT {column})" if rows <= EXACT_ROWS else f"approx_count_distinct({column})"
    ends = f"min({column}), max({column})" if kind in ("number", "date") else "NULL, NULL"
    there, different, low, high = _one(connection, f"SELECT count({column}), {distinct}, {ends} FROM {quoted(table)}")
    values: tuple[str, ...] = ()
    if kind == "text":
        # Of 54 million comments none is frequent; to sort that out took 25 s of processor time and gigabytes of disk.
        own = rows > EXACT_ROWS and different > rows / 2
        source = f"(SELECT {column} FROM {quoted(table)} LIMIT {EXACT_ROWS // 10})" if own else quoted(table)
        found = connection.execute(
            f"SELECT {column} FROM {source} WHERE {column} IS NOT NULL AND length({column}) <= {LONGEST_VALUE}"
            f" GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MOST_VALUES}"
        ).fetchall()
        values = tuple(row[0] for row in found)
    return Column(name, column, kind, rows, rows - there, different, _end(low), _end(high), values, unit)


def _end(value: Any) -> float | str | None:
    if value is None:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else float(value)


def _one(connection: DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(sql).fetchone()
    assert row is not None  # an aggregate always gives one row
    return row
