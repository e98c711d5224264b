"""Run one function on untrusted input in a child process with limits, and kill it when it will not end.

A 304-byte model file aborts its host process and a 493 KB picture takes 1.3 GB: whoever opens such a file may
die, so it is never the process that serves or holds the database.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tuneloop.errors import Hostile, TuneloopError
from tuneloop.texts import _

Result = TypeVar("Result")


def run_limited(
    function: Callable[..., Result], *arguments: Any, seconds: float = 30.0, memory: int = 1 << 30, what: str = ""
) -> Result:
    """Call a module-level function in a fresh interpreter; return what it returns (must pickle).

    seconds: wall-clock limit, then SIGKILL; memory: address-space limit in bytes above what the child starts with.
    Raises Hostile when the limit was hit or the child died, and whatever TuneloopError the function raised.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, memory, int(seconds) + 1, function, arguments), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            raise _refusal(what, _("took longer than {seconds:.0f} s").format(seconds=seconds))
        ok, value = here.recv()
    except EOFError:
        process.join(5)
        raise _refusal(what, _("made its reader die (exit {code})").format(code=process.exitcode)) from None
    finally:
        process.kill()
        process.join()
        here.close()
    if ok:
        return value  # type: ignore[no-any-return]
    if isinstance(value, TuneloopError):
        raise value
    raise _refusal(what, str(value))


def _work(
    pipe: Connection, memory: int, seconds: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer: tuple[bool, Any] = (True, function(*arguments))
    except TuneloopError as problem:
        answer = (False, problem)
    except MemoryError:
        answer = (False, _("needs more than {memory} MB of memory").format(memory=memory >> 20))
    except Exception as problem:  # noqa: BLE001  whatever a parser raises on hostile input becomes one sentence
        answer = (False, f"{type(problem).__name__}: {problem}")
    pipe.send(answer)
    pipe.close()


def _address_space() -> int:
    with open("/proc/self/statm") as status:  # noqa: PTH123
        return int(status.read().split()[0]) * resource.getpagesize()


def _refusal(what: str, reason: str) -> Hostile:
    return Hostile(
        _("{what} was refused: it {reason}").format(what=what or _("the file"), reason=reason),
        fix=_("Ask its author for another file; nothing of it was kept."),
    )
