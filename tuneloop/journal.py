"""Rows of calls on their way to the database: an append-only file first, SQL in batches behind it.

A request is answered after its row was handed to the system by one `write`: about 3 us, and a process killed with -9
loses none of them. A transaction per request would take 500 us with fsync. What the file does not promise is a power
cut: rows of the last second may go. So it carries telemetry only; feedback and promotion never take this way.

Format: one JSON object a line, its keys columns of the table `calls`. Segments are named by time and process, and the
writer holds a lock on the one it writes; `drain` (any process, one at a time) inserts what it has not yet inserted,
by primary key, so a line that is read twice is one row. `python -m tuneloop.journal FOLDER URL PID` drains until
that process, its parent, is gone; it is a process of its own because SQL beside the event loop would hold the
interpreter's lock.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

if TYPE_CHECKING:
    from tuneloop.workspace import Workspace

SEGMENT = 16 << 20  # bytes after which a new file is begun
BATCH = 1000  # rows of one transaction: it holds the database for about 10 ms
PIECE = 1 << 20  # bytes read at once, more when a single line is longer: the draining process stays small
log = logging.getLogger("tuneloop.journal")


class Row(msgspec.Struct):
    """A call: its fields are the columns of the table `calls`; `request` is the client's JSON, untouched."""

    id: str
    time: float
    kind: str
    request: msgspec.Raw
    version: str = ""
    status: str = "cancelled"
    answer: str = ""
    latency_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    user: str = ""
    error: str = ""
    tenant: str = ""
    key: str = ""
    task: str = ""
    variant: str = ""
    engine: str = ""
    model: str = ""
    reason: str = ""
    propensity: float = 1.0
    experiment: str = ""
    arm: str = ""
    cached: bool = False
    attempts: int = 0
    first_ms: float | None = None
    quality: float | None = None
    cost: float = 0.0
    code: str = ""
    tags: dict[str, str] | None = None
    parent: str = ""


COLUMNS = Row.__struct_fields__
_REQUEST, _TAGS = COLUMNS.index("request"), COLUMNS.index("tags")
_decode = msgspec.json.Decoder(Row).decode


class Journal:
    """The writing end; one per process. `lost` counts rows that a full disk did not take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lost = 0
        self._handle = -1
        self._size = 0

    def append(self, line: bytes) -> None:
        """Hand one row (JSON, one line, without its end) to the system. Never raises: a lost row is counted."""
        try:
            if self._handle < 0 or self._size > SEGMENT:
                self._begin()
            # A request's JSON may be written over several lines; between its tokens a blank is as good.
            line = line.replace(b"\n", b" ")
            written = os.write(self._handle, line + b"\n")
            self._size += written
            if written <= len(line):  # the disk is full in the middle of a line: take the half back
                self._size -= written
                os.ftruncate(self._handle, self._size)
                raise OSError("the disk is full")
        except OSError as problem:
            self.lost += 1
            if self.lost in (1, 10, 100) or self.lost % 1000 == 0:
                log.error("%d calls could not be recorded: %s", self.lost, problem)

    def close(self) -> None:
        """Let go of the segment, so that it can be drained to its end and removed."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _begin(self) -> None:
        self.close()
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{time.time_ns():020d}-{os.getpid()}.jsonl"
        hidden = path.with_suffix(".new")
        self._handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        hidden.rename(path)  # only now: a segment without a lock is taken for closed, and removed
        self._size = 0


def drain(folder: Path, url: str) -> int:
    """Insert every row not yet inserted into the database behind `url`; how many lines were read.

    Waits for another process that drains the same folder. Raises what the database raises; nothing is lost then.
    """
    if not folder.is_dir():
        return 0
    with _draining(folder):
        return sum(_drain_segment(path, url) for path in sorted(folder.glob("*.jsonl")))


@contextmanager
def _draining(folder: Path) -> Iterator[None]:
    with (folder / ".drain.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def place(workspace: Workspace) -> tuple[Path, str]:
    """(folder of the journal, URL of the database) of a workspace."""
    url = workspace.settings.text("db.url") or f"sqlite:///{workspace.path / 'tuneloop.db'}"
    return workspace.path / "journal", url


def settle(workspace: Workspace) -> int:
    """Bring everything that waits into the workspace's database; how many lines were read."""
    folder, url = place(workspace)
    return drain(folder, url) if folder.is_dir() else 0


def blank(folder: Path) -> None:
    """Overwrite what is in the database already: a server that runs keeps its segment for as long as 16 MB take."""
    if not folder.is_dir():
        return
    with _draining(folder):
        for path in folder.glob("*.jsonl"):
            with path.open("r+b") as segment:
                for start in range(0, end := _offset(path), PIECE):
                    segment.write(b"\n" * min(PIECE, end - start))
                segment.flush()
                os.fsync(segment.fileno())


def waiting(folder: Path) -> int:
    """Bytes of rows that are not yet in the database."""
    return sum(path.stat().st_size - _offset(path) for path in folder.glob("*.jsonl")) if folder.is_dir() else 0


def _drain_segment(path: Path, url: str) -> int:
    read = 0
    with path.open("rb") as segment:
        closed = _is_closed(segment.fileno())  # asked before reading: what is closed grows no more
        offset = _offset(path)
        segment.seek(offset)
        # Not readlines: at the end of a file that grows it returns half a line and goes on with the other half.
        while (cut := (piece := _lines_of(segment)).rfind(b"\n") + 1) > 0:
            lines = piece[:cut].split(b"\n")[:-1]
            for start in range(0, len(lines), BATCH):
                if rows := [row for line in lines[start : start + BATCH] if (row := _row(line))]:
                    _insert_all(url, rows)
            offset += cut
            segment.seek(offset)
            path.with_suffix(".done").write_text(str(offset))
            read += len(lines)
    if closed:
        path.unlink()
        path.with_suffix(".done").unlink(missing_ok=True)
    return read


def _lines_of(segment: BinaryIO) -> bytes:
    """The next bytes, with at least one whole line among them if there is one."""
    piece = segment.read(PIECE)
    while b"\n" not in piece and (more := segment.read(PIECE)):
        piece += more
    return piece


def _is_closed(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(handle, fcntl.LOCK_UN)
    return True


def _offset(path: Path) -> int:
    try:
        return int(path.with_suffix(".done").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _row(line: bytes) -> Row | None:
    if not line:  # blanked: it was inserted before
        return None
    try:
        return _decode(line)
    except msgspec.DecodeError as problem:
        log.error("a line of the journal cannot be read: %s", problem)
        return None


def _insert_all(url: str, rows: list[Row]) -> None:
    """All rows but those that no database takes, found by halves: one must not keep the others out for ever."""
    try:
        _insert(url, rows)
    except (ValueError, OverflowError) as problem:  # of the values; a database that is away raises another
        if len(rows) == 1:
            log.error("a row of the journal cannot be stored: %s", problem)
            return
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            _insert_all(url, half)


def _insert(url: str, rows: list[Row]) -> None:
    if url.startswith("sqlite:///"):
        _insert_sqlite(url.removeprefix("sqlite:///"), rows)
        return
    from sqlalchemy.dialects.postgresql import insert
    from sqlalchemy.exc import DataError

    from tuneloop.db import open_database
    from tuneloop.db.tables import calls

    database = _OPEN.get(url) or _OPEN.setdefault(url, open_database(url))
    values = [_values(row) for row in rows]
    try:
        with database.write() as connection:
            connection.execute(insert(calls).on_conflict_do_nothing(), values)
    except DataError as problem:
        raise ValueError(problem.orig) from problem


def _values(row: Row) -> dict[str, Any]:
    """PostgreSQL's text holds no character 0."""
    values = {k: v.replace("\x00", "") if isinstance(v, str) else v for k, v in msgspec.structs.asdict(row).items()}
    return values | {"request": json.loads(bytes(row.request).decode(errors="replace"))}


_OPEN: dict[str, Any] = {}  # one connection pool per URL: a process drains one or two


def _insert_sqlite(path: str, rows: list[Row]) -> None:
    # The standard library's own driver: SQLAlchemy would cost 40 MB in the draining process and half its speed.
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    values = ", ".join("?" * len(COLUMNS))
    with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        told = map(_cells, rows)
        connection.executemany(f"INSERT OR IGNORE INTO calls ({names}) VALUES ({values})", told)
        connection.execute("COMMIT")


def _cells(row: Row) -> list[Any]:
    """JSON goes in as it was written: parsed and written again, it was half of the 29 us that a row took."""
    cells = list(msgspec.structs.astuple(row))
    cells[_REQUEST] = bytes(row.request).decode(errors="replace")
    cells[_TAGS] = None if row.tags is None else json.dumps(row.tags, ensure_ascii=False)
    return cells


def main(folder: Path, url: str, parent: int, *, every: float = 0.5) -> None:
    """Drain until the parent process is gone, then once more."""
    os.nice(10)
    orphaned = False
    while not orphaned:
        orphaned = os.getppid() != parent
        try:
            drain(folder, url)
        except Exception as problem:  # noqa: BLE001  the database may be away for a while; the files keep what it has not
            log.error("the journal waits: %s", problem)
            time.sleep(every)
        time.sleep(0 if orphaned else every)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
