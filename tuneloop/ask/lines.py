"""Count the lines of a file without reading its rows: the proof that a fast reader left nothing out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuneloop.ask.columns import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CHUNK = 4 << 20  # bytes read at once


def count_lines(path: Path) -> tuple[int, bool]:
    """(line ends, and one more for a last line without one; whether there is a zero byte)."""
    lines, last, zero = 0, b"\n", False
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
            zero = zero or b"\x00" in chunk
    return lines + (last != b"\n"), zero


def blank_lines(path: Path) -> int:
    """Lines with nothing, or only a carriage return, on them."""
    blank, before = 0, np.frombuffer(b"\n", dtype=np.uint8)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            data = np.concatenate([before, np.frombuffer(chunk.replace(b"\r", b""), dtype=np.uint8)])
            ends = data == 10
            blank += int(np.count_nonzero(ends[1:] & ends[:-1]))
            before = data[-1:]
    return blank


def line_ends_in(connection: DuckDBPyConnection, table: str, names: Sequence[str]) -> int:
    """Line ends inside the cells of a loaded table's text columns."""
    texts = [
        f"coalesce(sum(length({quoted(name)}) - length(replace({quoted(name)}, chr(10), ''))), 0)"
        for name, kind, *_rest in connection.execute(f"DESCRIBE {quoted(table)}").fetchall()
        if kind == "VARCHAR" and name in names
    ]
    if not texts:
        return 0
    row = connection.execute(f"SELECT {' + '.join(texts)} FROM {quoted(table)}").fetchone()
    return int(row[0]) if row else 0
