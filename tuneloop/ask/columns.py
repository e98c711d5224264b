"""What is known about a table without its rows: the columns, their kinds, ranges and most frequent values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `values`: distinct text values, most frequent first, 1,000 at most."""

    name: str
    sql: str  # quoted identifier
    kind: str  # "number" | "text" | "date" | "bool"
    rows: int
    missing: int
    distinct: int
    low: float | str | None
    high: float | str | None
    values: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A table of `rows` rows."""

    table: str
    rows: int
    columns: tuple[Column, ...]
