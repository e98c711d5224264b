"""How far a load is: bytes read of bytes, rows so far; told by a thread of the loading child."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuneloop.child import tell

EVERY = 0.25  # seconds
COUNTING, READING, STORING = "counting lines", "reading", "storing"  # stages in bytes
PROFILING = "counting values"  # in columns
ROWS = "rows"  # told beside a stage: rows so far


@contextmanager
def reading(stage: str, size: int, rows: Callable[[float], int] | None = None) -> Iterator[None]:
    """Tell how many of `size` bytes this process has read since. rows: how many these are, of a share from 0 to 1.

    What the kernel counts is right for every reader: DuckDB's, Python's, of archives.
    """
    before, done = bytes_read(), threading.Event()

    def say(share: float) -> None:
        tell(stage, share * size, size)
        if rows is not None:
            tell(ROWS, rows(share), None)

    def watch() -> None:
        while not done.wait(EVERY):
            say(min(0.999, (bytes_read() - before) / max(1, size)))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        say(1.0)
    finally:
        done.set()
        watcher.join()


def bytes_read() -> int:
    """By this process until now, from files of any kind; 0 where the kernel does not tell."""
    try:
        found = re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0
