"""What is known of a table: its columns, their kinds, ranges and values. Small, frozen, without a row in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["number", "text", "date", "bool"]
MOST_VALUES = 1000  # distinct texts kept of a column: enough for every region or product group, 20 KB at most


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `low` and `high` are floats of numbers, ISO 8601 texts of dates, None of texts and truth values."""

    name: str  # as the file's header says it, blanks folded
    sql: str  # the identifier as written in SQL, quoted
    kind: Kind
    rows: int
    missing: int
    distinct: int  # not counting missing; beyond 100,000 an estimate of about 2 %
    low: float | str | None = None
    high: float | str | None = None
    values: tuple[str, ...] = ()  # of a text: all of them, most frequent first; beyond MOST_VALUES the most frequent
    unit: str = ""  # "%", "$", "₽", "km" ...: what stood beside every number


@dataclass(frozen=True, slots=True)
class Profile:
    """A table without its rows. `table` is its name in SQL."""

    table: str
    rows: int
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column with this name, as the header writes it or lower-cased. Raises KeyError."""
        named = {column.name.lower(): column for column in self.columns} | {c.name: c for c in self.columns}
        return named[name] if name in named else named[name.lower()]


def as_json(profile: Profile) -> dict[str, Any]:
    """JSON values only; `from_json` is the way back."""
    return asdict(profile)


def from_json(data: dict[str, Any]) -> Profile:
    """What `as_json` wrote."""
    columns = tuple(Column(**{**c, "values": tuple(c["values"])}) for c in data["columns"])
    return Profile(data["table"], data["rows"], columns)


def quoted(name: str) -> str:
    """A name as an SQL identifier: in double quotes, inner ones doubled."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal: in single quotes, inner ones doubled."""
    return "'" + text.replace("'", "''") + "'"
