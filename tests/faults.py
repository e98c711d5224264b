"""Kill a process with -9 before the n-th thing it does to the database or to files: every moment a crash can have."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from sqlalchemy import Engine, event

MOVES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree", "shutil.copyfile")


def killed_at(moment: int, work: Callable[[], object]) -> bool:
    """Do `work` in a forked child that is killed before its n-th statement, commit, or change of a folder.

    False when it ended before that. `work` opens its own database: connections do not survive a fork.
    """
    child = os.fork()
    if child == 0:
        try:
            left = count(moment, -1)

            def before(*_told: Any) -> None:
                if next(left) <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            def audited(name: str, _arguments: Any) -> None:
                if name in MOVES:
                    before()

            event.listen(Engine, "before_cursor_execute", before)
            event.listen(Engine, "commit", before)
            sys.addaudithook(audited)
            work()
        finally:  # nothing of pytest may run in the child
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def every_moment(work: Callable[[], object]) -> Iterator[int]:
    """Kill `work` at its first moment, its second, ... ; the last one yielded is the number of the run that ended."""
    for moment in count():
        killed = killed_at(moment, work)
        yield moment
        if not killed:
            return
