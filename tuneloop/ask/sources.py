"""Which kind of file it is, and rows out of those that are not plain text: Excel, Parquet, JSON, SQLite.

A file is known by its first bytes, not by its name. Everything here runs in the loading child.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop.ask.bombs import MOST_RATIO, bomb
from tuneloop.ask.columns import literal, quoted
from tuneloop.ask.headers import cleaned
from tuneloop.ask.reading import Count
from tuneloop.ask.report import Finding
from tuneloop.ask.staging import MOST_COLUMNS, Staged, tabular, too_wide
from tuneloop.errors import BadInput, Hostile, MissingExtra
from tuneloop.texts import _

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_JSON = 200 << 20  # bytes of a JSON file that is one array, and so has to be read whole
SMALL = 50 << 20  # bytes that a part of a workbook may unpack into, whatever its size
MOST_STRINGS = 300 << 20  # bytes of a workbook's shared strings, which are read whole
DEEPEST = 3  # objects inside objects that become columns "a.b.c"; deeper ones stay JSON texts
SUFFIXES = frozenset(
    {".csv", ".tsv", ".tab", ".txt", ".xlsx", ".xlsm", ".parquet", ".jsonl", ".ndjson", ".json", ".gz", ".csvy"}
)


def form(path: Path) -> str:
    """ "folder", "parquet", "sqlite", "excel", "zip", "gzip", "json" or "text". Raises BadInput for other kinds."""
    if path.is_dir():
        return "folder"
    with path.open("rb") as file:
        start = file.read(4096)
    for mark, name in ((b"PAR1", "parquet"), (b"SQLite format 3\x00", "sqlite"), (b"\x1f\x8b", "gzip")):
        if start.startswith(mark):
            return name
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_form(path)
    refused = {
        b"\xd0\xcf\x11\xe0": _("an old Excel file (.xls)"),
        b"%PDF": _("a PDF"),
        b"\x89PNG": _("a picture"),
        b"\xff\xd8\xff": _("a picture"),
        b"GIF8": _("a picture"),
        b"\x7fELF": _("a program"),
        b"Rar!": _("a RAR archive"),
        b"7z\xbc\xaf": _("a 7z archive"),
    }
    for mark, name in refused.items():
        if start.startswith(mark):
            raise BadInput(
                _("{name} is {what}, not a table").format(name=path.name, what=name), fix=_("Save it as CSV or Excel.")
            )
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"{" or (text[:1] == b"[" and text[1:].lstrip()[:1] == b"{"):
        # In JSON a name in quotes follows; a header like "{price},city" is one of a text file that is called so.
        named = text[:1] == b"{" and text[1:].lstrip()[:1] not in (b'"', b"}", b"")
        return "text" if named and path.suffix.lower() in (".csv", ".tsv", ".tab") else "json"
    return "text"


def _zip_form(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise BadInput(_("{name} is damaged").format(name=path.name), fix=_("Save or download it again.")) from None
    return "excel" if any(name.startswith("xl/") for name in names) else "zip"


def excel(path: Path, asked: dict[str, Any], scratch: Path) -> Staged:
    """Rows of one sheet: the asked one, or the longest."""
    try:
        import openpyxl
    except ImportError:
        raise MissingExtra(
            _("Excel files need openpyxl, which is not installed"), fix=_("pip install 'tuneloop[ask]'")
        ) from None
    with zipfile.ZipFile(path) as archive:
        if any(
            info.filename.endswith("sharedStrings.xml") and info.file_size > MOST_STRINGS for info in archive.filelist
        ):
            raise Hostile(_("{name} unpacks into too much text").format(name=path.name), fix=_("Save it as CSV."))
        if any(info.file_size > MOST_RATIO * info.compress_size + SMALL for info in archive.filelist):
            raise bomb(path)
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    wanted = asked.get("sheet")
    if not sheets:
        raise BadInput(_("{name} holds no table").format(name=path.name), fix=_("Choose a file with rows in it."))
    if wanted and wanted not in sheets:
        raise BadInput(
            _("there is no sheet '{name}'").format(name=wanted),
            fix=_("Its sheets are: {names}.").format(names=", ".join(sheets)),
        )
    title = wanted or max(sheets, key=lambda name: (sheets[name].max_row or 0) * (sheets[name].max_column or 0))
    rows = ([shown(cell) for cell in row] for row in sheets[title].iter_rows(values_only=True))
    staged = tabular(rows, asked, scratch, "excel")
    others = ", ".join(name for name in sheets if name != title)
    how = "asked" if wanted else "largest" if others else "single"
    staged.found.insert(0, Finding("sheet", title, how, {"others": others} if how == "largest" else {}))
    if empty := _never_computed(path, sheets[title]):
        staged.found.append(Finding("formulas", f"{empty:,}", "not computed"))
    return staged


def _never_computed(path: Path, sheet: Any) -> int:
    """Cells with a formula and no value: a program wrote them, and no spreadsheet program has opened the file since."""
    part = str(getattr(sheet, "_worksheet_path", "")).lstrip("/")
    found, rest = 0, b""
    with zipfile.ZipFile(path) as archive:
        if part not in archive.namelist():
            return 0
        with archive.open(part) as file:
            while block := file.read(1 << 20):
                text = rest + block
                ends = [match.end() for match in _NO_VALUE.finditer(text)]
                found += len(ends)
                rest = text[max(ends[-1] if ends else 0, len(text) - 100) :]
    return found


_NO_VALUE = re.compile(rb"(?:</f>|<f\b[^<>]*/>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")


def shown(cell: Any) -> str:
    """A cell of a workbook, database or JSON document as the text that the kinds are decided on."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return ""
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime.datetime):
        midnight = cell.time() == datetime.time()
        return cell.date().isoformat() if midnight else cell.isoformat(sep=" ", timespec="seconds")
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False)
    return cell.hex() if isinstance(cell, bytes) else str(cell)


def sqlite_tables(path: Path) -> dict[str, int]:
    """Its tables and how many rows each has; no views, no virtual tables: those run code of the file."""
    connection = _sqlite(path)
    try:
        names = [
            name
            for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            if not name.startswith("sqlite_") and not str(sql).upper().startswith("CREATE VIRTUAL")
        ]
        return {name: connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0] for name in names}
    finally:
        connection.close()


def sqlite(path: Path, table: str, asked: dict[str, Any], scratch: Path) -> Staged:
    """Rows of one table of a SQLite file."""
    connection = _sqlite(path)
    try:
        cursor = connection.execute(f"SELECT * FROM {quoted(table)}")
        names = [column[0] for column in cursor.description]
        return tabular(([shown(c) for c in row] for row in cursor), asked, scratch, "sqlite", names=names)
    finally:
        connection.close()


def _sqlite(path: Path) -> Any:
    import sqlite3
    from urllib.parse import quote

    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def parquet(connection: DuckDBPyConnection, path: Path) -> Staged:
    """Columns of a Parquet file with the types they have; nested ones become texts."""
    source = f"read_parquet({literal(str(path))})"
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    if len(described) > MOST_COLUMNS:
        raise too_wide(len(described))
    parts, given = [], []
    for n, (name, kind, *_rest) in enumerate(described):
        plain = kind.split("(")[0] in _PLAIN_TYPES and "[" not in kind
        kept = "TIMESTAMP" if kind.startswith("TIMESTAMP") else kind if plain else "VARCHAR"
        parts.append(f"CAST({quoted(name)} AS {kept}) AS c{n}")
        given.append(kept)
    (rows,) = connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0]
    names = cleaned([column[0] for column in described], len(described))
    relation = f"(SELECT {', '.join(parts)} FROM {source})"
    return Staged("parquet", names, relation, Count(lines=rows, loaded=rows), given=tuple(given))


_PLAIN = (
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT FLOAT DOUBLE DECIMAL"
    " DATE"
)
_PLAIN_TYPES = frozenset(_PLAIN.split())


def json_rows(path: Path, asked: dict[str, Any], scratch: Path) -> Staged:
    """Objects of a JSON lines file, or of a file that is one array of objects: a row each, a column per key."""
    count = Count()
    names: dict[str, None] = {}
    for item in _objects(path, count):
        names.update(dict.fromkeys(item))
        if len(names) > MOST_COLUMNS:
            raise too_wide(len(names))
    lost = count.rejected["not json"]
    if not names or lost > count.lines / 2:
        raise BadInput(
            _("{name} holds no JSON objects, one a line or in one array").format(name=path.name),
            fix=_("Save it as CSV or JSON lines."),
        )
    cells = ([shown(item.get(name)) for name in names] for item in _objects(path, Count()))
    staged = tabular(cells, asked, scratch, "json", names=list(names))
    staged.count.lines += lost + count.blank
    staged.count.rejected.update(+count.rejected)
    staged.count.examples += count.examples
    staged.count.blank += count.blank
    return staged


def _objects(path: Path, count: Count) -> Iterator[dict[str, Any]]:
    """Flattened objects; lines that are none are counted as rejected."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        start = file.read(1)
        file.seek(0)
        if start == "[" or not _is_lines(path):
            for item in _array(path):
                count.lines += 1
                if isinstance(item, dict):
                    yield flat(item)
                else:
                    count.reject(count.lines, "not json", str(item))
            return
        for line in file:
            count.lines += 1
            if not line.strip():
                count.blank += 1
                continue
            try:
                item = json.loads(line)
            except (ValueError, RecursionError):
                item = None
            if isinstance(item, dict):
                yield flat(item)
            else:
                count.reject(count.lines, "not json", line)


def _is_lines(path: Path) -> bool:
    """Whether the first line is an object by itself and another line follows it."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        try:
            first = json.loads(file.readline(1 << 24))
        except (ValueError, RecursionError):
            return False
        return isinstance(first, dict) and bool(file.readline(1 << 24).strip())


def _array(path: Path) -> Sequence[Any]:
    """The items of a file that is one array, or an object with an array of objects in it."""
    if path.stat().st_size > MOST_JSON:
        raise BadInput(
            _("{name} is one JSON array of {size} MB, which must be read whole").format(
                name=path.name, size=path.stat().st_size >> 20
            ),
            fix=_("Save it as JSON lines: an object a line."),
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as problem:
        raise BadInput(
            _("{name} is no JSON: {problem}").format(name=path.name, problem=str(problem)[:200]),
            fix=_("Save or download it again."),
        ) from None
    if isinstance(found, dict):
        found = next((v for v in found.values() if isinstance(v, list) and v and isinstance(v[0], dict)), [found])
    return list(found)


def flat(item: dict[str, Any], depth: int = 1) -> dict[str, Any]:
    """Objects inside an object as columns of their own: {"a": {"b": 1}} is {"a.b": 1}."""
    made: dict[str, Any] = {}
    for key, value in item.items():
        if isinstance(value, dict) and value and depth < DEEPEST:
            made.update({f"{key}.{inner}": deep for inner, deep in flat(value, depth + 1).items()})
        else:
            made[str(key)] = value
    return made
