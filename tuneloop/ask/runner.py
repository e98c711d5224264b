"""The child that runs queries: opens the table, gives up every right it does not need, then answers line by line.

Started by ask/sandbox.py as `python -m tuneloop.ask.runner`. Each line on stdin is one order in JSON, each line on
stdout its answer. After the table is open the process can open no further file or socket (RLIMIT_NOFILE), write
nothing (RLIMIT_FSIZE), not grow beyond its memory (RLIMIT_AS), and the kernel ends it at its deadline (SIGALRM with
no handler), also when the parent is gone.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneloop import texts
from tuneloop.ask.guard import LOCKED, examined, unreadable
from tuneloop.errors import OutOfResources, TuneloopError
from tuneloop.texts import _

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST_CELL = 10_000  # characters shown of one cell
LONGEST_ANSWER = 8_000_000  # characters of all cells together


def main() -> None:
    """Serve orders until stdin ends. First line in: {"database": path or "", "memory": bytes, "language": ...}."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    start = json.loads(sys.stdin.readline())
    connection = _open(start["database"])
    _shut(start["memory"])
    _say(channel, {"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        texts.use(order["language"])
        signal.setitimer(signal.ITIMER_REAL, order["seconds"] + 0.5)
        _say(channel, _answer(connection, order))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _open(database: str) -> DuckDBPyConnection:
    import duckdb

    if database:
        connection = duckdb.connect(database, read_only=True, config=LOCKED)
    else:
        connection = duckdb.connect(":memory:", config=LOCKED)
    # Whatever is imported or opened on first use must be there before the doors are shut.
    connection.execute("SELECT json_serialize_sql('SELECT 1'), strftime(now(), '%Y'), 'a' ILIKE 'A'").fetchall()
    return connection


def _shut(memory: int) -> None:
    """Give up files, sockets, writing, and memory beyond `memory` bytes above what the process has now."""
    for language in texts.LANGUAGES:  # a catalogue of texts is a file, read on first use
        texts.use(language)
        _("the query is empty")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory
    # A new descriptor gets the lowest free number: with the limit there, none can be had; the open ones go on.
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, lowest_free))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(connection: DuckDBPyConnection, order: dict[str, Any]) -> dict[str, Any]:
    try:
        sql = examined(connection, order["sql"], order["tables"])
        return {"sql": sql} if order["check"] else {**_run(connection, sql, order["most"]), "sql": sql}
    except TuneloopError as problem:
        return _answer_of(problem)
    except MemoryError:
        return _answer_of(too_large())
    except Exception as problem:  # noqa: BLE001  whatever DuckDB raises on hostile SQL becomes one sentence
        return _answer_of(unreadable(problem))


def _answer_of(problem: TuneloopError) -> dict[str, Any]:
    return {"kind": type(problem).__name__, "message": problem.message, "fix": problem.fix}


def _run(connection: DuckDBPyConnection, sql: str, most: int) -> dict[str, Any]:
    """Run one SELECT; rows are streamed and no more than most + 1 of them are ever fetched."""
    import duckdb

    try:
        done = connection.execute(sql)
        names = [str(column[0]) for column in done.description]
        rows = done.fetchmany(most + 1)
    except duckdb.OutOfMemoryException:
        raise too_large() from None
    except duckdb.Error as problem:
        raise unreadable(problem) from None
    cells = [[_plain(cell) for cell in row] for row in rows[:most]]
    if sum(len(cell) for row in cells for cell in row if isinstance(cell, str)) > LONGEST_ANSWER:
        raise too_large()
    return {"columns": names, "rows": cells, "truncated": len(rows) > most}


def _plain(cell: Any) -> Any:
    """A cell as a JSON value: numbers stay numbers, times become ISO 8601, everything else its text."""
    if cell is None or isinstance(cell, bool | int):
        return cell
    if isinstance(cell, decimal.Decimal):
        cell = float(cell)
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if isinstance(cell, datetime.date | datetime.time):  # datetime.datetime is a date
        return cell.isoformat()
    text = cell if isinstance(cell, str) else str(cell)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "…"


def too_large() -> OutOfResources:
    """The error of a query that needs more memory than it may have."""
    return OutOfResources(
        _("the query needs more memory than it may have"),
        fix=_("Ask for fewer rows or groups; of long tables, for approx_quantile and approx_count_distinct."),
    )


def _say(channel: Any, answer: dict[str, Any]) -> None:
    channel.write(json.dumps(answer, ensure_ascii=True) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
