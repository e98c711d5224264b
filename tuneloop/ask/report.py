"""What became of a file's rows and what was found out about it, with the evidence; one sentence for each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tuneloop.texts import _


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out: `what` is "encoding", "separator", ..., `how` a key of `sentence`, `detail` its figures."""

    what: str
    value: str
    how: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """physical = above + header + blank + continued + loaded + the rejected, always."""

    source: str  # file name
    form: str  # "text", "excel", "parquet", "json", "sqlite", "folder"
    size: int  # bytes
    physical: int  # lines of a text file, rows of any other
    loaded: int
    above: int = 0  # before the header
    header: int = 0
    blank: int = 0
    continued: int = 0  # lines that go on inside a quoted cell
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> rows
    examples: tuple[tuple[int, str, str], ...] = ()  # (line, reason, start of the row)
    padded: int = 0  # loaded rows that had too few cells
    unread: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)  # column -> cells read as missing
    found: tuple[Finding, ...] = ()
    seconds: float = 0.0
    reader: str = ""  # "fast": DuckDB, proved by the count of lines; "exact": row by row

    def adds_up(self) -> bool:
        """Whether every physical row is accounted for."""
        known = self.above + self.header + self.blank + self.continued + self.loaded + sum(self.rejected.values())
        return known == self.physical


def as_json(report: Report) -> dict[str, Any]:
    """JSON values only; `from_json` is the way back."""
    return asdict(report)


def from_json(data: dict[str, Any]) -> Report:
    """What `as_json` wrote."""
    return Report(
        **{
            **data,
            "examples": tuple((line, why, text) for line, why, text in data["examples"]),
            "unread": {name: (n, tuple(cells)) for name, (n, cells) in data["unread"].items()},
            "found": tuple(Finding(**one) for one in data["found"]),
        }
    )


def reasons() -> dict[str, str]:
    """Why rows are rejected, in words."""
    return {
        "too many cells": _("more cells than columns"),
        "quote": _("a quote that is never closed"),
        "zero bytes": _("zero bytes"),
        "encoding": _("bytes that are no text in this encoding"),
        "header again": _("the header once more"),
        "no cells": _("no cell is filled"),
        "too long": _("longer than 500,000 characters"),
        "not json": _("not a JSON object"),
        "other columns": _("a file with other columns"),
        "unreadable file": _("a file that could not be read"),
    }


def sum_of_rows(report: Report) -> str:
    """ "1,951 lines = 1 header + 1,950 loaded": nothing is lost without a reason."""
    parts = [
        (report.above, _("above the header")),
        (report.header, _("header")),
        (report.blank, _("blank")),
        (report.continued, _("inside quoted cells")),
        *((n, _("rejected ({why})").format(why=reasons()[why])) for why, n in sorted(report.rejected.items())),
        (report.loaded, _("loaded")),
    ]
    listed = " + ".join(f"{n:,} {what}" for n, what in parts if n or what == _("loaded"))
    lines = _("{n} lines") if report.form == "text" else _("{n} rows")
    return lines.format(n=f"{report.physical:,}") + " = " + listed


def subject(finding: Finding) -> str:
    """What was found out, as a label."""
    return {
        "encoding": _("encoding"),
        "separator": _("separator"),
        "quotes": _("quotes"),
        "header": _("header"),
        "decimal": _("decimal mark"),
        "dates": _("dates"),
        "sheet": _("sheet"),
        "table": _("table"),
        "files": _("files"),
        "formulas": _("formulas"),
        "source": _("source"),
    }[finding.what]


def in_words(finding: Finding) -> str:
    """What it was found to be; names of orders and marks in words."""
    words = {
        "day first": _("day first"),
        "month first": _("month first"),
        "year first": _("year first"),
        "tab": _("tab"),
        "blank": _("a blank"),
    }
    return words.get(finding.value, finding.value) if finding.what in ("dates", "separator") else finding.value


def sentence(finding: Finding) -> str:
    """The evidence, in words."""
    texts = {
        "asked": _("as asked"),
        "bom": _("the file begins with its mark"),
        "ascii": _("only plain ASCII characters"),
        "utf-8": _("{valid} of its letters beyond ASCII are valid UTF-8"),
        "mixed": _("lines that are no UTF-8 are read as {second}; their letters fit words by {second_fit}"),
        "not computed": _("these cells of formulas hold no value; open and save the file in a spreadsheet program"),
        "changed": _("the file changed while it was read; it is read again next time"),
        "zero bytes": _("every other byte is a high byte"),
        "letters": _("its letters fit Russian or Western words by {fit}, as {second} by {second_fit}"),
        "consistency": _("rows and cells are consistent by {fit}, the next best {second} gives {second_fit}"),
        "only": _("rows and cells are consistent by {fit}, no other separator occurs"),
        "doubled": _("quotes inside quotes are doubled"),
        "backslash": _("quotes inside quotes are written with a backslash"),
        "plain": _("quotes are plain characters"),
        "wrapped": _("each row is one quoted cell with a row inside"),
        "kinds": _("{changes} columns hold numbers or dates under a word"),
        "texts": _("its words are different and do not come again below"),
        "years": _("its cells are years in order"),
        "groups": _("names of groups, with gaps, over names of columns; {changes} columns of numbers or dates below"),
        "units": _("names over units; {changes} columns of numbers or dates below"),
        "data": _("its first row is like the others; columns are numbered"),
        "columns": _("seen in {columns}"),
        "guess": _("a guess: no cell of {columns} tells; say which with --dates or --decimal"),
        "largest": _("the one with the most rows of: {others}"),
        "single": _("the only one"),
        "united": _("one below the other; the column 'file' says which row is from where"),
        "united but": _("one below the other; left out: {others}"),
    }
    return texts[finding.how].format(**finding.detail)
