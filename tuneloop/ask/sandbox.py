"""The parent's side of the child that runs queries: start it, ask it, kill it at the deadline, start it again.

One child per open table, kept between queries (a fresh one takes 0.2 s, a query on 942,000 rows often less). A query
that fails, ends late or dies says so in one error; the next one gets a new child where that is needed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from tuneloop import errors, texts
from tuneloop.errors import OutOfResources
from tuneloop.texts import _

MEMORY = 512 << 20  # bytes of address space above what the child starts with
START_SECONDS = 30.0  # to import DuckDB and open the table; 0.2 s on an idle machine

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a query gave. Cells are numbers, texts, truth values or None; dates are ISO 8601 texts."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    truncated: bool  # there were more rows than asked for
    sql: str = ""  # as it was run


class Sandbox:
    """A child process on one DuckDB file ("" : an empty database in memory). Safe to share between threads."""

    def __init__(self, database: str = "", *, memory: int = MEMORY) -> None:
        self._database = database
        self._memory = memory
        self._child: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        atexit.register(self.close)

    def check(self, sql: str, tables: Collection[str]) -> str:
        """See `guard.checked`."""
        return str(self._ask(sql, tables, seconds=5.0, most=0, check=True)["sql"])

    def run(self, sql: str, tables: Collection[str], *, seconds: float, most: int) -> Result:
        """Check a statement and run it. Raises BadInput, Refused, or OutOfResources at a limit of time or memory."""
        answer = self._ask(sql, tables, seconds=seconds, most=most, check=False)
        rows = [tuple(row) for row in answer["rows"]]
        return Result(tuple(answer["columns"]), rows, bool(answer["truncated"]), answer["sql"])

    def close(self) -> None:
        """End the child; the next query would start another."""
        with self._turn:
            self._end()
        atexit.unregister(self.close)

    def _ask(self, sql: str, tables: Collection[str], *, seconds: float, most: int, check: bool) -> dict[str, Any]:
        order = {"sql": sql, "tables": sorted(tables), "seconds": seconds, "most": most, "check": check}
        with self._turn:
            child = self._living()
            try:
                answer = _exchange(child, {**order, "language": texts.language()}, seconds)
            except BaseException:  # Ctrl-C: its answer would be taken for that to the next question
                self._end()
                raise
            if answer is None:
                late = child.poll() is None
                self._end()
                raise _stopped(seconds) if late else _died()
            if answer.get("kind") == OutOfResources.__name__:
                # What the query took of its address space stays taken: honest questions after it were refused.
                self._end()
        if "kind" in answer:
            raise getattr(errors, answer["kind"])(answer["message"], fix=answer["fix"])
        return answer

    def _living(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tuneloop.ask.runner"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                # Nothing of ours to read with getenv. One arena: glibc reserves 64 MB of addresses for each of DuckDB's
                # nine threads, at its first allocation, which on a busy machine came after the limit was set: one in
                # 500 small queries was refused for want of memory. Queries are as fast.
                env={"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "MALLOC_ARENA_MAX": "1"},
            )
            start = {"database": self._database, "memory": self._memory}
            if _exchange(self._child, start, START_SECONDS) is None:
                self._end()
                raise OutOfResources(
                    _("the process that runs queries did not start"), fix=_("Free memory, then ask again.")
                )
        return self._child

    def _end(self) -> None:
        if self._child is None:
            return
        child, self._child = self._child, None
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # an order it never read
                    pipe.close()


@cache
def parser() -> Sandbox:
    """The shared child that only reads SQL."""
    return Sandbox()


def _exchange(child: subprocess.Popen[bytes], order: dict[str, Any], seconds: float) -> dict[str, Any] | None:
    """Send one line, wait for one line; None when the child is dead or the time is up."""
    assert child.stdin is not None and child.stdout is not None
    until = time.monotonic() + seconds
    try:
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        child.wait()
        return None
    parts: list[bytes] = []
    watch = select.poll()  # unlike select(), not bounded to descriptors under 1,024
    watch.register(child.stdout, select.POLLIN | select.POLLHUP)
    while (left := until - time.monotonic()) > 0:
        if not watch.poll(left * 1000):
            break
        part = os.read(child.stdout.fileno(), 1 << 20)
        if not part:
            child.wait()
            return None
        parts.append(part)
        if part.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(b"".join(parts))
            return answer
    return None


def _stopped(seconds: float) -> OutOfResources:
    return OutOfResources(
        _("the query was stopped: it took longer than {seconds:g} s").format(seconds=seconds),
        fix=_("Ask for fewer rows or groups at once."),
    )


def _died() -> OutOfResources:
    return OutOfResources(
        _("the query was stopped: it needs more memory than it may have"),
        fix=_("Ask for fewer rows or groups at once."),
    )
