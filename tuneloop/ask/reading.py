"""Read the rows of a text file one by one, losing none without a reason: the slow, exact reader.

Most files never need it: DuckDB reads them eight times faster, and the count of lines proves that nothing was left
out (ask/load.py). Where that proof fails, or the file is not UTF-8, has rows inside quoted cells or quotes written
with backslashes, this reader takes every row apart and says of each that it was loaded, or why it was not.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tuneloop.ask.dialect import Dialect, unwrapped

LONGEST_ROW = 500_000  # characters; beyond it a quote was never closed
MOST_LINES = 200  # of one row
EXAMPLES = 5  # rejected rows kept for the report


@dataclass
class Count:
    """Where every line of a file went; `lines` is the sum of all the others."""

    lines: int = 0
    above: int = 0  # before the header: titles, notes, blanks
    header: int = 0
    blank: int = 0
    continued: int = 0  # lines that go on inside a quoted cell
    loaded: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # reason -> rows
    examples: list[tuple[int, str, str]] = field(default_factory=list)  # (line, reason, start of the row)
    padded: int = 0  # loaded although their last cells were missing

    def adds_up(self) -> bool:
        """Whether every line is accounted for."""
        known = self.above + self.header + self.blank + self.continued + self.loaded + sum(self.rejected.values())
        return self.lines == known

    def reject(self, line: int, reason: str, text: str) -> None:
        """Count a row that is not loaded; the first few are kept to show."""
        self.rejected[reason] += 1
        if len(self.examples) < EXAMPLES:
            shown = text[:200].encode("utf-8", "replace").decode()  # bytes that were no text are lone surrogates
            self.examples.append((line, reason, shown))


def open_lines(path: Path, encoding: str, second: str = "") -> Iterator[str]:
    """Lines with their ends, however they end. Bytes that are no text come as lone surrogates or U+FFFD.

    second: encoding of the lines that are no UTF-8, in a file pasted together of two.
    """
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    with path.open(encoding=encoding, errors=errors, newline="") as file:
        first = True
        for line in file:
            if second and not line.isascii() and _BROKEN.search(line):
                line = line.encode("utf-8", "surrogateescape").decode(second, "replace")  # noqa: PLW2901
            yield line.removeprefix("\ufeff") if first else line
            first = False


def records(lines: Iterable[str], how: Dialect, count: Count) -> Iterator[tuple[int, str, list[str] | None]]:
    """(line number, text, cells) of each row; cells is [] of a blank line and None where a quote is never closed.

    Lines, and those of them that go on inside quotes, are counted here; the caller says what became of each row.
    """
    source = _PushBack(lines, count)
    closed = _closed(how) if how.quote else None
    for line in source:
        start = count.lines
        if not line.strip():
            yield start, line, []
        elif how.wrapped and (row := unwrapped(line)) is not None:
            yield start, line, _cells(row, how)
        elif closed is None or how.quote not in line or closed.fullmatch(line):
            yield start, line, _cells(line, how)
        elif rest := _rest_of_row(source, line, how.quote, closed):
            count.continued += len(rest)
            text = line + "".join(rest)
            yield start, text, _cells(text, how)
        else:
            yield start, line, None


def _rest_of_row(source: _PushBack, line: str, quote: str, closed: re.Pattern[str]) -> list[str]:
    """The lines that a row with an open quote goes on over; none, and nothing taken, when no line closes it."""
    gathered = [line]
    size = len(line)
    for more in source:
        gathered.append(more)
        size += len(more)
        if quote in more and closed.fullmatch("".join(gathered)):
            return gathered[1:]
        if len(gathered) > MOST_LINES or size > LONGEST_ROW:
            break
    source.back(gathered[1:])
    return []


def _closed(how: Dialect) -> re.Pattern[str]:
    """Matches rows whose quotes are all closed. A quote opens only at the start of a cell, as csv.reader has it."""
    q, s = re.escape(how.quote), re.escape(how.separator)
    inner = rf"[^{q}\\]++|\\.|{q}{q}" if how.backslash else rf"[^{q}]++|{q}{q}"
    rest = rf"[^{s}\r\n]*+"
    cell = rf"(?:{q}(?:{inner})*+{q}{rest}|[^{q}{s}\r\n]{rest}|)"
    return re.compile(rf"(?:{cell}{s})*+{cell}[\r\n]*", re.DOTALL)


class _PushBack:
    """Lines that can be given back, counted once."""

    def __init__(self, lines: Iterable[str], count: Count) -> None:
        self._lines = iter(lines)
        self._again: list[str] = []
        self._count = count

    def __iter__(self) -> _PushBack:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        self._count.lines += 1
        return line

    def back(self, lines: list[str]) -> None:
        self._again.extend(reversed(lines))
        self._count.lines -= len(lines)


def _cells(text: str, how: Dialect) -> list[str] | None:
    text = text.rstrip("\r\n")
    if not (how.quote and how.quote in text) and not (how.backslash and "\\" in text):
        return text.split(how.separator)
    try:
        found = list(csv.reader([text], **how.reader_options()))  # type: ignore[arg-type]
    except csv.Error:
        return None
    return found[0] if len(found) == 1 else None


def rows(
    lines: Iterable[str], how: Dialect, count: Count, *, width: int, above: int, header: int
) -> Iterator[list[str]]:
    """The rows to load, each of `width` cells. above: rows before the header (or before the data, without one);
    header: its rows."""
    csv.field_size_limit(LONGEST_ROW)
    names: list[str] | None = None
    for n, (line, text, cells) in enumerate(records(lines, how, count)):
        if n < above:
            count.above += 1
        elif n < above + header:
            count.header += 1
            names = cells
        elif cells == []:
            count.blank += 1
        elif cells is None or (reason := _fault(text, cells, width, names)):
            count.reject(line, "quote" if cells is None else reason, text)
        else:
            count.loaded += 1
            count.padded += len(cells) < width
            yield (cells + [""] * (width - len(cells)))[:width]


_BROKEN = re.compile("[\udc80-\udcff]")
_NOT_TEXT = re.compile("[\udc80-\udcff\ufffd]")


def _fault(text: str, cells: list[str], width: int, names: list[str] | None) -> str:
    """Why a row cannot be loaded, "" when it can."""
    if len(text) > LONGEST_ROW:
        return "too long"
    if "\x00" in text:
        return "zero bytes"
    if not text.isascii() and _NOT_TEXT.search(text):
        return "encoding"
    if len(cells) > width and any(cell.strip() for cell in cells[width:]):
        return "too many cells"
    if cells == names:
        return "header again"
    return ""
