"""A file's rows as something DuckDB can read: its own file where that is sound, else a clean copy made row by row.

`Staged.relation` is SQL that gives text columns c0, c1, ...; `Staged.count` says where every row of the source went.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneloop.ask.columns import literal
from tuneloop.ask.dialect import Dialect, dialect, lines_of
from tuneloop.ask.headers import Header, cleaned, header
from tuneloop.ask.pace import ROWS
from tuneloop.ask.reading import LONGEST_ROW, Count, open_lines, records, rows
from tuneloop.ask.report import Finding
from tuneloop.ask.sniff import Encoding, encoding_of, pieces
from tuneloop.child import tell
from tuneloop.errors import BadInput
from tuneloop.texts import _

MOST_COLUMNS = 2_000  # DuckDB needs 17 s for 50,000 columns, and nobody asks about them
MOST_BYTES = 4 * LONGEST_ROW + 64  # of a row, all its characters in UTF-8; DuckDB's buffers are four times that
LEAST_FIT = 0.05  # consistency under which a text is prose with commas; the most ragged real table seen has 0.3
HEAD_ROWS = 120  # looked at to find the header


@dataclass
class Staged:
    """What a source gives: its columns' names, the relation with its rows, the count, and what was found out."""

    form: str
    names: tuple[str, ...]
    relation: str
    count: Count
    found: list[Finding] = field(default_factory=list)
    reader: str = "exact"
    comma_country: bool = False  # semicolons or Cyrillic names: decimal comma and day first where nothing tells
    header: tuple[str, ...] = ()  # its cells as they are in the file, to find it again further down
    given: tuple[str, ...] = ()  # DuckDB types of the columns where they are known (Parquet)
    files: tuple[Path, ...] = ()  # whose lines prove the count of a fast reading


@dataclass(frozen=True, slots=True)
class Text:
    """A text file understood: how to read it, and what its head looked like."""

    path: Path
    encoding: Encoding
    how: Dialect
    header: Header
    above: int
    cyrillic: bool
    line_end: str


def understood(path: Path, asked: dict[str, Any]) -> Text:
    """Find out encoding, separator, quotes and header of a text file. Raises BadInput when it is no table."""
    parts = pieces(path)
    code = Encoding(_codec(asked["encoding"]), "asked") if asked.get("encoding") else encoding_of(parts)
    text = parts[0].decode(code.name, "replace").removeprefix("\ufeff")
    if len(parts[0]) < path.stat().st_size:
        text = text[: text.rfind("\n") + 1] or text
    lines = lines_of(text)
    above = _preamble(lines)
    body = "".join(lines[above:])
    _refuse_markup(body)
    how = dialect(body, separator=asked.get("separator", ""), quote=asked.get("quote"))
    if how.fit < LEAST_FIT and how.separator in body and not asked.get("separator"):
        raise BadInput(
            _("no separator makes rows of one width out of this text (the best, '{separator}', fits by {fit})").format(
                separator=shown_mark(how.separator), fit=how.fit
            ),
            fix=_("If it is a table, say with --separator how its cells are separated."),
        )
    first = [cells or [] for _line, _text, cells in itertools.islice(records(lines[above:], how, Count()), HEAD_ROWS)]
    top = _header(first, asked.get("header"))
    if len(top.names) > MOST_COLUMNS:
        raise too_wide(len(top.names))
    ends = "\r\n" if "\r\n" in text else "\r" if "\r" in text and "\n" not in text else "\n"
    cyrillic = any("а" <= c.lower() <= "я" for c in text[:20_000])
    return Text(path, code, how, top, above + top.above, cyrillic, ends)


def _header(rows_: Sequence[Sequence[str]], asked: object) -> Header:
    try:
        return header(rows_, None if asked is None else str(asked))
    except ValueError:
        raise BadInput(
            _("'{header}' is no row of a header").format(header=asked),
            fix=_("Name its row, like 3; two rows as 3-4; 0 when there is none."),
        ) from None


def too_wide(n: int) -> BadInput:
    """The error for a table with more columns than anybody asks about."""
    return BadInput(
        _("the table has {n:,} columns, the limit is {limit:,}").format(n=n, limit=MOST_COLUMNS),
        fix=_("Turn it: a row per measurement, with a column that names it."),
    )


def exact(source: Text, scratch: Path) -> Staged:
    """Read a text file row by row into a clean copy."""
    count = Count()
    found = rows(
        open_lines(source.path, source.encoding.name, source.encoding.second if source.encoding.how == "mixed" else ""),
        source.how,
        count,
        width=len(source.header.names),
        above=source.above,
        header=source.header.rows,
    )
    relation = clean_copy(found, len(source.header.names), scratch)
    return _staged(source, relation, count, "exact")


def fast(source: Text) -> Staged | None:
    """Let DuckDB read the file itself; None where it would read it differently. The caller proves the count."""
    how = source.how
    plain = source.encoding.name in ("utf-8", "utf-8-sig") and source.encoding.how != "mixed"
    if not plain or how.wrapped or how.backslash or source.line_end == "\r":
        return None
    relation = _read_csv(source.path, len(source.header.names), how, source.above + source.header.rows)
    return _staged(source, relation, Count(above=source.above, header=source.header.rows), "fast")


def clean_copy(found: Iterable[Sequence[str]], width: int, scratch: Path) -> str:
    """Write rows as plain CSV and return the relation that reads them."""
    done = 0
    with scratch.open("w", encoding="utf-8", errors="replace", newline="") as file:  # JSON may hold half a character
        for batch in _batches(found, 2_000):
            done += len(batch)
            tell(ROWS, done, None)
            file.write("".join(['"' + '","'.join([c.replace('"', '""') for c in row]) + '"\n' for row in batch]))
    # The first cell may hold "\r\n", which DuckDB would take for the end of every row.
    return _read_csv(scratch, width, Dialect(), 0, "\\n")


def tabular(
    found: Iterable[Sequence[str]], asked: dict[str, Any], scratch: Path, form: str, *, names: Sequence[str] = ()
) -> Staged:
    """Stage rows of cells from any other kind of file. names: of the columns, where the file says them itself."""
    source = iter(found)
    head = list(itertools.islice(source, HEAD_ROWS))
    top = Header(cleaned(names, len(names)), 0, 0) if names else _header(_cut(head), asked.get("header"))
    if len(top.names) > MOST_COLUMNS:
        raise too_wide(len(top.names))
    if not top.names:
        raise BadInput(_("the table is empty"), fix=_("Choose a file with rows in it."))
    count = Count()
    relation = clean_copy(_counted(itertools.chain(head, source), top, count), len(top.names), scratch)
    cyrillic = any("а" <= c.lower() <= "я" for name in top.names for c in name)
    cells = top.cells if top.rows else ()
    staged = Staged(form, top.names, relation, count, comma_country=cyrillic, header=cells)
    if not names:
        staged.found.append(Finding("header", top.place(), top.why, {"changes": top.kind_changes}))
    return staged


def _cut(rows_: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Rows without the columns at the right that are empty in all of them, as spreadsheets have them."""
    width = max((n + 1 for row in rows_ for n, cell in enumerate(row) if cell.strip()), default=0)
    return [row[:width] for row in rows_]


def _counted(found: Iterable[Sequence[str]], top: Header, count: Count) -> Iterator[Sequence[str]]:
    width = len(top.names)
    for n, row in enumerate(found):
        count.lines += 1
        if n < top.above:
            count.above += 1
        elif n < top.above + top.rows:
            count.header += 1
        elif not any(cell.strip() for cell in row):
            count.blank += 1
        elif any(cell.strip() for cell in row[width:]):
            count.reject(count.lines, "too many cells", ", ".join(row))
        elif any("\x00" in cell for cell in row):
            count.reject(count.lines, "zero bytes", ", ".join(row))
        elif sum(map(len, row)) > LONGEST_ROW:
            count.reject(count.lines, "too long", ", ".join(cell[:200] for cell in row))
        else:
            count.loaded += 1
            yield (*row[:width], *[""] * (width - len(row)))


def _batches(found: Iterable[Sequence[str]], size: int) -> Iterator[list[Sequence[str]]]:
    source = iter(found)
    while batch := list(itertools.islice(source, size)):
        yield batch


def _read_csv(path: Path, width: int, how: Dialect, skip: int, line_end: str = "") -> str:
    """DuckDB's reader with nothing left for it to guess: it drops rows silently when it guesses wrong."""
    ends = f", new_line = {literal(line_end)}" if line_end else ""
    columns = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(width))
    quote, mark = literal(how.quote), literal(how.separator)
    return (
        f"read_csv({literal(str(path))}, auto_detect = false, header = false, skip = {skip}, delim = {mark},"
        f" quote = {quote}, escape = {quote}, columns = {{{columns}}}, nullstr = '', max_line_size = {MOST_BYTES},"
        f" buffer_size = {4 * MOST_BYTES}, strict_mode = true, null_padding = false, ignore_errors = false{ends})"
    )


def _staged(source: Text, relation: str, count: Count, reader: str) -> Staged:
    comma_country = source.how.separator == ";" or source.cyrillic
    names = source.header.names
    cells = source.header.cells if source.header.rows else ()
    return Staged("text", names, relation, count, _findings(source), reader, comma_country, cells, files=(source.path,))


def _preamble(lines: Sequence[str]) -> int:
    """Lines before the table proper: Excel's "sep=;" and the YAML front matter of CSVY."""
    if lines and lines[0].lower().startswith("sep=") and len(lines[0].rstrip()) == 5:
        return 1
    if lines and lines[0].strip() == "---":
        for n, line in enumerate(lines[1:200], 2):
            if line.strip() == "---":
                return n
    return 0


def _codec(name: str) -> str:
    import codecs

    try:
        return codecs.lookup(name).name
    except LookupError:
        raise BadInput(
            _("'{name}' is no encoding").format(name=name), fix=_("Use utf-8, cp1251, koi8-r, cp866, utf-16, ...")
        ) from None


def _refuse_markup(body: str) -> None:
    start = body.lstrip()[:200].lower()
    if start.startswith(("<!doctype", "<html", "<?xml", "<table")):
        raise BadInput(_("this is a web page or XML, not a table"), fix=_("Save it as CSV or Excel."))
    if start.startswith("%pdf"):
        raise BadInput(_("this is a PDF, not a table"), fix=_("Save it as CSV or Excel."))


def shown_mark(mark: str) -> str:
    """A separator as people name it."""
    return {"\t": "tab", " ": "blank", "\x01": "\\x01"}.get(mark, mark)


def _findings(source: Text) -> list[Finding]:
    code, how, top = source.encoding, source.how, source.header
    detail: dict[str, Any] = {"fit": code.fit, "second": code.second, "second_fit": code.second_fit}
    if code.how == "utf-8":
        detail = {"valid": f"{100 * code.fit:.4g} %"}
    found = [Finding("encoding", code.name, code.how, detail)]
    fits = {"fit": how.fit, "second": shown_mark(how.second), "second_fit": how.second_fit}
    found.append(Finding("separator", shown_mark(how.separator), "consistency" if how.second else "only", fits))
    quoting = "wrapped" if how.wrapped else "plain" if not how.quote else "backslash" if how.backslash else ""
    if quoting:
        found.append(Finding("quotes", how.quote or "-", quoting))
    return [*found, Finding("header", top.place(source.above), top.why, {"changes": top.kind_changes})]
