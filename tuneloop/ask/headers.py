"""Which row of a table is its header, or which two: with the evidence.

A header is a row of different, filled texts above columns that hold other kinds of cells. Two rows are one header when
the upper one names groups of columns (cells with gaps after them, as merged cells come, or repeated ones) over a row of
names, or when the lower one holds nothing but units over columns of numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tuneloop.ask.kinds import MISSING
from tuneloop.ask.numerals import looks_like_date, looks_like_number

LOOKED = 15  # rows among which the header is
LONGEST_UNIT = 12  # characters: "тыс. чел.", "USD bn"


@dataclass(frozen=True, slots=True)
class Header:
    """`above`: rows before it that are no data (titles, blanks); `rows`: 0 when the first row is data, 2 of groups."""

    names: tuple[str, ...]
    above: int
    rows: int
    cells: tuple[str, ...] = ()  # of its last row, as they are in the file, as many as names
    kind_changes: int = 0  # columns whose cells are numbers or dates under a text
    why: str = ""  # "kinds", "texts", "years", "asked", "data", "groups", "units"

    def place(self, above: int | None = None) -> str:
        """Its row, counting from 1 ("3"), or its rows ("3-4"); "-" without one. above: the rows before it."""
        above = self.above if above is None else above
        return f"{above + 1}-{above + self.rows}" if self.rows > 1 else str(above + 1) if self.rows else "-"


def header(rows: Sequence[Sequence[str]], asked: str | None = None) -> Header:
    """Find the header among the first rows of a table. asked: its row, counting from 1, "3-4" for two, "0" for none.

    Raises ValueError when `asked` is something else.
    """
    if not rows:
        return Header((), 0, 0, why="data")
    width = _usual_width(rows)
    if asked is not None:
        first, last = _asked(asked)
        at = min(max(0, first - 1), len(rows) - 1)
        if not first:
            return _header((), width, at, "asked", 0)
        if last > first and at + 1 < len(rows):
            return _paired(rows[at], rows[at + 1], width, at, "asked")
        return _header(rows[at], width, at, "asked", 1)
    filled = [sum(1 for cell in row if cell.strip()) for row in rows]
    # Titles and blank rows above: fewer than half of the cells that rows usually have.
    start = _below_titles(rows, filled, _first(filled, max(1, min(2, width), width / 2)))
    for at in (start - 1, start):
        if at >= 0 and at + 2 < len(rows) and (why := _pair(rows[at], rows[at + 1], rows[at + 2 : at + 101])):
            return _paired(rows[at], rows[at + 1], width, at, why, len(_number_columns(rows[at + 2 : at + 101], width)))
    first_row, body = rows[start], rows[start + 1 : start + 100]
    changes, against = _kind_changes(first_row, body)
    # A data row has hardly a word in a column of numbers; a header may well have numbers ("2010", "1110").
    why = "kinds" if changes > 0.25 * against else "data" if against else "texts"
    if why == "data" and _years(first_row):
        why = "years"
    if why == "texts" and not _could_be_names(first_row, body):
        why = "data"
    if why == "data":  # a row with half of its cells is a row: only what has a single cell is a title
        return _header((), width, _first(filled, min(2, width)), why, 0)
    return _header(first_row, width, start, why, 1, changes)


def _asked(text: str) -> tuple[int, int]:
    """(first, last) row of "3" or "3-4"."""
    if not (found := re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", text.strip())):
        raise ValueError(text)
    first = int(found[1])
    last = int(found[2] or first)
    if not (last == first or (first and last == first + 1)):
        raise ValueError(text)
    return first, last


def _below_titles(rows: Sequence[Sequence[str]], filled: Sequence[int], start: int) -> int:
    """A row further down that is the better header: fuller, and a blank row above it or more kinds change under it."""
    best, (most, _against) = start, _kind_changes(rows[start], rows[start + 1 : start + 100])
    for at in range(start + 1, min(LOOKED, len(rows) - 1)):
        if filled[at] <= filled[best]:
            continue
        changes, against = _kind_changes(rows[at], rows[at + 1 : at + 100])
        words = [cell for cell in rows[at] if cell.strip()]
        if against or changes < max(1, most) or any(looks_like_number(cell.strip()) for cell in words):
            continue
        apart = any(filled[between] == 0 for between in range(best, at))
        fuller = filled[at] == len(rows[at]) and changes > most
        if not (apart or fuller or most == 0):
            continue
        best, most = at, changes
    return best


def _pair(upper: Sequence[str], lower: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Why two rows are one header: "groups", "units"; "" when they are not."""
    top, names = [cell.strip() for cell in upper], [cell.strip() for cell in lower]
    width = max(len(top), len(names))
    top, names = top + [""] * (width - len(top)), names + [""] * (width - len(names))
    if any(map(_value, top)) or any(map(_value, names)) or not any(names):
        return ""
    numbers = _number_columns(body, width)
    if all(top) and _units(names, numbers):
        return "units"
    if len(upper) < len(lower):  # of a group of columns the gaps are in the file, too
        return ""
    groups = _spread(upper, lower)
    spans = [n for n in range(1, width) if groups[n] and groups[n] == groups[n - 1] and names[n]]
    starts = [n for n in spans if n - 1 not in spans and names[n - 1]]
    if not starts or not any(top[1:]) or any(not a and not b for a, b in zip(groups, names, strict=True)):
        return ""
    whole = [f"{a}\x1f{b}" for a, b in zip(groups, names, strict=True)]
    again = any(name and name in (row[n].strip() for row in body if n < len(row)) for n, name in enumerate(names))
    if len(set(whole)) < width or again:
        return ""
    if any(n in numbers for n in spans):
        return "groups"
    # Only texts: two groups at least, and no row below has gaps as the upper one has.
    full = all(row[n].strip() for row in body[:20] for n in spans if n < len(row) and any(row))
    return "groups" if len(starts) >= 2 and len(body) >= 2 and full and top.count("") >= 2 else ""


def _value(cell: str) -> bool:
    """Whether a cell is a number or date that is no year: a header's years stand over years' figures."""
    return bool(cell) and (looks_like_number(cell) or looks_like_date(cell)) and not re.fullmatch(_YEAR, cell)


_YEAR = r"(?:1[5-9]|20)\d\d"


def _number_columns(body: Sequence[Sequence[str]], width: int) -> set[int]:
    """Columns of numbers (not only of years) or dates."""
    found = set()
    for n in range(width):
        cells = [row[n].strip() for row in body if n < len(row) and row[n].strip()]
        values = sum(looks_like_number(c) or looks_like_date(c) for c in cells)
        if cells and values >= 0.8 * len(cells) and not all(re.fullmatch(_YEAR, c) for c in cells):
            found.add(n)
    return found


def _units(names: Sequence[str], numbers: set[int]) -> bool:
    """Short words over columns of numbers and nothing over others."""
    filled = [n for n, name in enumerate(names) if name]
    return not names[0] and all(
        n in numbers and len(names[n]) <= LONGEST_UNIT and names[n].lower() not in MISSING for n in filled
    )


def _spread(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    """The group over each column: a cell's text goes on over the gaps after it, up to the next one."""
    width, groups, last = max(len(upper), len(lower)), [], ""
    for n in range(width):
        cell = upper[n].strip() if n < len(upper) else ""
        last = cell or last
        groups.append(last if cell or (n < len(lower) and lower[n].strip()) else "")
    return groups


def _paired(upper: Sequence[str], lower: Sequence[str], width: int, above: int, why: str, changes: int = 0) -> Header:
    """A header of two rows: "Sales" over "units" is "Sales units"."""
    groups = _spread(upper, lower) if why != "units" else [cell.strip() for cell in upper]
    names = [cell.strip() for cell in lower] + [""] * (len(groups) - len(lower))
    names += [""] * (len(groups) - len(names))
    groups += [""] * (len(names) - len(groups))
    joined = [name if a in ("", name) else f"{a} {name}".strip() for a, name in zip(groups, names, strict=True)]
    made = _header(joined, width, above, why, 2, changes)
    cells = (*lower, *[""] * (len(made.names) - len(lower)))
    return Header(made.names, above, 2, cells[: len(made.names)], changes, why)


def _first(filled: Sequence[int], least: float) -> int:
    """The first row with so many filled cells; the very first when none of the next fifteen has."""
    return next((n for n, cells in enumerate(filled[:LOOKED]) if cells >= least), 0)


def _header(cells: Sequence[str], width: int, above: int, why: str, rows: int, changes: int = 0) -> Header:
    width = max(width, len(cells))
    padded = (*cells, *[""] * (width - len(cells)))
    return Header(cleaned(cells, width), above, rows, padded, changes, why)


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
