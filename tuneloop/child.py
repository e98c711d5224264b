"""Run one function on untrusted input in a child process with limits, and kill it when it will not end.

A 304-byte model file aborts its host process and a 493 KB picture takes 1.3 GB: whoever opens such a file may
die, so it is never the process that serves or holds the database. Arguments and results cross as JSON: what a
hostile file made of its reader must not be able to send objects that run code on arrival.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tuneloop import errors, texts
from tuneloop.errors import Hostile, TuneloopError
from tuneloop.progress import Progress, Stopped
from tuneloop.texts import _

Result = TypeVar("Result")


def run_limited(
    function: Callable[..., Result],
    *arguments: Any,
    seconds: float = 30.0,
    memory: int = 1 << 30,
    what: str = "",
    watch: Progress | None = None,
) -> Result:
    """Call a module-level function in a fresh interpreter; return what it returns.

    Arguments may be JSON values and paths, the result a JSON value (tuples come back as lists). seconds: wall-clock
    limit, then SIGKILL; memory: address space in bytes above what the child starts with. watch: gets what the
    function says with `tell`, in a thread of its own; when it raises Stopped the child ends at its next `tell`.
    Raises Hostile when a limit was hit or the child died, and whatever TuneloopError the function raised.
    """
    order = {
        "function": f"{function.__module__}:{function.__qualname__}",
        "arguments": [{"path": str(a)} if isinstance(a, Path) else {"value": a} for a in arguments],
        "memory": memory,
        "seconds": int(seconds) + 1,
        "language": texts.language(),
    }
    with (
        _listening(watch, order) as pipe,
        subprocess.Popen(
            [sys.executable, "-m", "tuneloop.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=pipe,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        ) as process,
    ):
        try:
            said, _errors = process.communicate(json.dumps(order).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise _refusal(what, _("took longer than {seconds:.0f} s").format(seconds=seconds)) from None
        finally:
            process.kill()
    try:
        answer = json.loads(said)
    except ValueError:
        raise _refusal(what, _("made its reader die (exit {code})").format(code=process.returncode)) from None
    if "result" in answer:
        return answer["result"]  # type: ignore[no-any-return]
    if answer["kind"]:
        raise getattr(errors, answer["kind"])(answer["message"], fix=answer["fix"])
    raise _refusal(what, answer["message"])


@contextmanager
def _listening(watch: Progress | None, order: dict[str, Any]) -> Iterator[tuple[int, ...]]:
    """The end of a pipe that the child writes on, its number in the order; a thread calls `watch` for each line."""
    if watch is None:
        yield ()
        return
    ours, theirs = os.pipe()

    def listen() -> None:
        with os.fdopen(ours, encoding="utf-8") as lines, suppress(Stopped):  # nobody listens: the child ends itself
            for line in lines:
                stage, done, total = json.loads(line)
                watch(str(stage), float(done), None if total is None else float(total))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        order["watched"] = theirs
        yield (theirs,)
    finally:
        os.close(theirs)
        listener.join()


_told: list[int] = []  # in the child: where `tell` writes, when somebody watches


def tell(stage: str, done: float, total: float | None) -> None:
    """In the child: say how far the work is. Ends the process when nobody is there to watch any more."""
    for pipe in _told:
        try:
            os.write(pipe, json.dumps([stage, done, total]).encode() + b"\n")
        except BrokenPipeError:
            os._exit(1)


def _work() -> None:
    """In the child: do the order that came on stdin. What the function prints must not mix with the answer."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    order = json.load(sys.stdin)
    texts.use(order["language"])
    if "watched" in order:
        _told.append(order["watched"])
    module, name = order["function"].split(":")
    function = getattr(importlib.import_module(module), name)
    arguments = [Path(a["path"]) if "path" in a else a["value"] for a in order["arguments"]]
    resource.setrlimit(resource.RLIMIT_CPU, (order["seconds"], order["seconds"]))
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + order["memory"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = {"result": function(*arguments)}
    except TuneloopError as problem:
        answer = {"kind": type(problem).__name__, "message": problem.message, "fix": problem.fix}
    except MemoryError:
        needs = _("needs more than {memory} MB of memory").format(memory=order["memory"] >> 20)
        answer = {"kind": "", "message": needs}
    except Exception as problem:  # noqa: BLE001  whatever a parser raises on hostile input becomes one sentence
        answer = {"kind": "", "message": f"{type(problem).__name__}: {problem}"}
    with channel:
        json.dump(answer, channel)


def _address_space() -> int:
    with open("/proc/self/statm") as status:  # noqa: PTH123
        return int(status.read().split()[0]) * resource.getpagesize()


def _refusal(what: str, reason: str) -> Hostile:
    return Hostile(
        _("{what} was refused: it {reason}").format(what=what or _("the file"), reason=reason),
        fix=_("Ask its author for another file; nothing of it was kept."),
    )


if __name__ == "__main__":
    # As the module others import, not as a second one: `tell` finds where to write.
    importlib.import_module("tuneloop.child")._work()
