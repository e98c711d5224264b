"""How cells are separated and quoted in a text file.

Separator and quotes: the consistency measure of G. J. J. van den Burg, A. Nazabal and C. Sutton, "Wrangling messy CSV
files by detecting row and type patterns" (Data Mining and Knowledge Discovery, 2019): a reading is good when its rows
have one width and its cells look like numbers, dates, empty cells or plain words.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, replace

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
    lines = lines_of(text)[:LINES]
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


def lines_of(text: str) -> list[str]:
    """Lines with their ends, as files have them: str.splitlines ends them at U+2028, U+0085 and form feeds, too."""
    return list(io.StringIO(text, newline=""))


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
    tried = [Dialect(s, q, b) for s in separators for q, b in quotes if not (b and _swallows(head, Dialect(s, q, b)))]
    scored = [replace(one, fit=round(consistency(head, one), 4)) for one in tried]
    return sorted(scored, key=lambda one: (-one.fit, one.separator in RARE_SEPARATORS))


def _swallows(head: str, how: Dialect) -> bool:
    """Whether backslashes before quotes are plain ones, as in "C:\\data\\",5: read as escapes they join whole rows."""
    plain, escaped = parsed(head, replace(how, backslash=False)), parsed(head, how)
    return len(escaped) < len(plain) and len({len(row) for row in plain if row}) == 1


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
