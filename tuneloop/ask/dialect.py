"""How cells are separated and quoted in a text file, and which row is the header.

Separator and quotes: the consistency measure of G. J. J. van den Burg, A. Nazabal and C. Sutton, "Wrangling messy CSV
files by detecting row and type patterns" (Data Mining and Knowledge Discovery, 2019): a reading is good when its rows
have one width and its cells look like numbers, dates, empty cells or plain words. Header: a row of different, filled
texts above columns that hold other kinds of cells.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tuneloop.ask.kinds import MISSING
from tuneloop.ask.numerals import looks_like_date, looks_like_number

SEPARATORS = (",", ";", "\t", "|")
RARE_SEPARATORS = ("^", "~", "\x01", ":")
LINES = 200  # of the head that every reading is tried on


@dataclass(frozen=True, slots=True)
class Dialect:
    """`quote` "" means that quotes are plain characters; `wrapped`: each row is one quoted cell with a row inside."""

    separator: str = ","
    quote: str = '"'
    backslash: bool = False  # quotes inside quotes are written \\" and not ""
    wrapped: bool = False
    fit: float = 1.0  # consistency, 0 to 1
    second: str = ""  # the next best separator
    second_fit: float = 0.0

    def reader_options(self) -> dict[str, object]:
        """Keyword arguments for csv.reader."""
        return {
            "delimiter": self.separator,
            "quotechar": self.quote or None,
            "quoting": csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            "doublequote": True,  # files that write \" often write "" too
            "escapechar": "\\" if self.backslash else None,
        }


def dialect(text: str, *, separator: str = "", quote: str | None = None) -> Dialect:
    """The best reading of the head of a file. `separator` and `quote` ("" for none) narrow the choice."""
    lines = text.splitlines(keepends=True)[:LINES]
    if lines and (hint := re.match(r"sep=(.)\r?\n", lines[0])):  # a line that Excel writes and reads
        separator, lines = separator or hint[1], lines[1:]
    head = "".join(lines)
    found = _readings(head, separator, quote)
    wrapped = [unwrapped(line) for line in lines]
    if sum(line is not None for line in wrapped) > 0.5 * len(lines):
        inner = "".join(line if new is None else new + "\n" for line, new in zip(lines, wrapped, strict=True))
        deeper = _readings(inner, separator, quote)
        if deeper[0].fit > 1.5 * found[0].fit:
            found = [replace(one, wrapped=True) for one in deeper]
    best = found[0]
    other = next((one for one in found if one.separator != best.separator), None)
    return replace(best, second=other.separator, second_fit=other.fit) if other else best


def unwrapped(line: str) -> str | None:
    """The row inside a line that is one quoted cell, its doubled quotes made single; None for any other line."""
    line = line.rstrip("\r\n")
    if len(line) > 2 and line[0] == line[-1] == '"':
        inner = line[1:-1]
        if '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
    return None


def _readings(head: str, separator: str, quote: str | None) -> list[Dialect]:
    """All readings, the most consistent first; of equals the more usual first."""
    common = [s for s in (*SEPARATORS, *RARE_SEPARATORS) if s in head] or [","]
    separators = [separator] if separator else common
    quotes: list[tuple[str, bool]] = [('"', False)]
    if '\\"' in head:
        quotes.append(('"', True))
    if re.search(r"(?:^|[,;\t|])'[^'\n]*'(?:[,;\t|]|$)", head, re.MULTILINE):
        quotes.append(("'", False))
    if '"' in head:
        quotes.append(("", False))
    if quote is not None:
        quotes = [q for q in quotes if q[0] == quote] or [(quote, False)]
    tried = [Dialect(s, q, b) for s in separators for q, b in quotes]
    scored = [replace(one, fit=round(consistency(head, one), 4)) for one in tried]
    return sorted(scored, key=lambda one: (-one.fit, one.separator in RARE_SEPARATORS))


def consistency(head: str, how: Dialect) -> float:
    """Row pattern times cell types, 0 to 1."""
    rows = [row for row in parsed(head, how) if row]
    if not rows:
        return 0.0
    widths = Counter(map(len, rows))
    pattern = sum(n * max(0.001, width - 1) / width for width, n in widths.items()) / len(widths) / len(rows)
    other = re.compile("[" + re.escape("".join(s for s in SEPARATORS if s != how.separator)) + "]")
    cells = [cell for row in rows for cell in row]
    known = sum(1 for cell in cells if _known(cell.strip(), other))
    return pattern * known / len(cells)


def parsed(head: str, how: Dialect) -> list[list[str]]:
    """Rows of a text under a reading; what csv refuses ends the list."""
    rows = []
    try:
        for row in csv.reader(io.StringIO(head, newline=""), **how.reader_options()):  # type: ignore[arg-type]
            rows.append(row)
    except csv.Error:
        return rows
    return rows


def _known(cell: str, other: re.Pattern[str]) -> bool:
    """Whether a cell is empty, a number, a date, or words without another separator or a stray quote at its ends."""
    if not cell or looks_like_number(cell) or looks_like_date(cell):
        return True
    if cell[0] in "\"'" or cell[-1] == '"':
        return False
    return len(cell) <= 120 and not other.search(cell)


@dataclass(frozen=True, slots=True)
class Header:
    """`above`: rows before it that are no data (titles, blanks); `present`: False when the first row is data."""

    names: tuple[str, ...]
    above: int
    present: bool
    cells: tuple[str, ...] = ()  # as they are in the file, as many as names
    kind_changes: int = 0  # columns whose cells are numbers or dates under a text
    why: str = ""  # "kinds", "texts", "years", "asked", "data"


def header(rows: Sequence[Sequence[str]], asked: int | None = None) -> Header:
    """Find the header among the first rows of a table. asked: its row, counting from 1; 0 for none."""
    if not rows:
        return Header((), 0, False, why="data")
    width = _usual_width(rows)
    if asked is not None:
        at = min(max(0, asked - 1), len(rows) - 1)
        return _header(rows[at] if asked else (), width, at, "asked", bool(asked))
    filled = [sum(1 for cell in row if cell.strip()) for row in rows]
    # Titles and blank rows above: fewer than half of the cells that rows usually have.
    start = _first(filled, max(1, min(2, width), width / 2))
    first, body = rows[start], rows[start + 1 : start + 100]
    changes, against = _kind_changes(first, body)
    # A data row has hardly a word in a column of numbers; a header may well have numbers ("2010", "1110").
    why = "kinds" if changes > 0.25 * against else "data" if against else "texts"
    if why == "data" and _years(first):
        why = "years"
    if why == "texts" and not _could_be_names(first, body):
        why = "data"
    if why == "data":  # a row with half of its cells is a row: only what has a single cell is a title
        return _header((), width, _first(filled, min(2, width)), why, False)
    return _header(first, width, start, why, True, changes)


def _first(filled: Sequence[int], least: float) -> int:
    """The first row with so many filled cells; the very first when none of the next fifteen has."""
    return next((n for n, cells in enumerate(filled[:15]) if cells >= least), 0)


def _header(cells: Sequence[str], width: int, above: int, why: str, present: bool, changes: int = 0) -> Header:
    width = max(width, len(cells))
    padded = (*cells, *[""] * (width - len(cells)))
    return Header(cleaned(cells, width), above, present, padded, changes, why)


def cleaned(names: Sequence[str], width: int) -> tuple[str, ...]:
    """Names as columns can bear them: blanks folded, nameless ones numbered, repeated ones told apart.

    SQL identifiers do not know case, so "Name" and "name" are the same name here.
    """
    made: list[str] = []
    seen: set[str] = set()
    for n in range(width):
        raw = names[n] if n < len(names) else ""
        printable = "".join(c if c.isprintable() else " " for c in raw)
        name = " ".join(printable.split())[:120].strip() or f"column {n + 1}"
        unique, again = name, 1
        while unique.lower() in seen:
            again += 1
            unique = f"{name} ({again})"
        seen.add(unique.lower())
        made.append(unique)
    return tuple(made)


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    widths = Counter(len(row) for row in rows if any(cell.strip() for cell in row))
    return max(widths, key=lambda w: (widths[w], w)) if widths else 0


def _kind_changes(first: Sequence[str], body: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Columns of numbers or dates that begin with a text, and those that begin with a number or date."""
    changes = against = 0
    for n, top in enumerate(first):
        below = [row[n].strip() for row in body if n < len(row) and row[n].strip()]
        if not below:
            continue
        if sum(looks_like_number(c) or looks_like_date(c) for c in below) >= 0.8 * len(below):
            if looks_like_number(top.strip()) or looks_like_date(top.strip()):
                against += 1
            elif top.strip() and top.strip().lower() not in MISSING:
                changes += 1
    return changes, against


def _years(row: Sequence[str]) -> bool:
    """A text or nothing, then years that rise or fall: the header of a table with a column per year."""
    rest = [cell.strip() for cell in row[1:] if cell.strip()]
    if row[0].strip().isdigit():
        return False
    years = [int(cell) for cell in rest if re.fullmatch(r"(1[5-9]|20)\d\d", cell)]
    steps = [b - a for a, b in pairwise(years)]
    one_way = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return len(years) >= 2 and len(years) >= 0.8 * len(rest) and one_way


def _could_be_names(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Among texts only: names are filled, different, short, and do not come again in their column."""
    names = [cell.strip() for cell in first]
    if list(first) in [list(row) for row in body]:  # repeated before each part of the table
        return True
    # One may be nameless (the numbers of the rows), and some alike ("Gold", "Gold", "Silver", "Silver").
    if names.count("") > 1 or len(set(names)) <= len(names) / 2:
        return False
    if any(len(name) > 100 for name in names):
        return False
    return not any(name and n < len(row) and row[n].strip() == name for n, name in enumerate(names) for row in body)
