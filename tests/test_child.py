"""One function in a limited child: whatever it does, the caller gets a value or one clear error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tuneloop import texts
from tuneloop.child import run_limited, tell
from tuneloop.errors import BadInput, Hostile, NotAnExport

# The child imports this module by its name and calls these.


def add(first: int, second: int) -> int:
    return first + second


def read(path: Path) -> str:
    print("noise on stdout is not the answer")
    return path.read_text()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def spin() -> None:
    while True:
        pass


def swallow(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def leave() -> None:
    os._exit(0)


def refuse(message: str) -> None:
    raise NotAnExport(message, fix="do this")


def stumble() -> None:
    raise KeyError("inner")


def language() -> str:
    return texts.language()


def unsendable() -> Any:
    return object()


def test_result_and_arguments_cross(tmp_path: Path) -> None:
    assert run_limited(add, 2, 3) == 5
    (tmp_path / "файл").write_text("да")
    assert run_limited(read, tmp_path / "файл") == "да"


def test_our_errors_arrive_as_they_were() -> None:
    with pytest.raises(NotAnExport, match="no messages") as caught:
        run_limited(refuse, "no messages")
    assert caught.value.fix == "do this"


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        (sleep, (60,), "longer than 1 s"),
        (spin, (), "longer than 1 s"),
        (swallow, (2000,), "memory"),
        (die, (signal.SIGABRT,), "die"),
        (die, (signal.SIGSEGV,), "die"),
        (leave, (), "die"),
        (stumble, (), "KeyError"),
        (unsendable, (), "die"),
    ],
)
def test_whatever_goes_wrong_is_hostile_and_soon(function: Any, arguments: tuple[int, ...], said: str) -> None:
    began = time.monotonic()
    with pytest.raises(Hostile) as caught:
        run_limited(function, *arguments, seconds=1 if "longer" in said else 20, memory=500 << 20, what="x.json")
    assert said in caught.value.message
    assert caught.value.message.startswith("x.json")
    assert time.monotonic() - began < 15


def test_enough_memory_is_enough() -> None:
    assert run_limited(swallow, 100, memory=500 << 20) == 100 << 20


def test_child_speaks_the_callers_language() -> None:
    assert run_limited(language) == "en"
    texts.use("ru")
    assert run_limited(language) == "ru"


def test_hostile_is_bad_input() -> None:
    with pytest.raises(BadInput):
        run_limited(leave)


def work(steps: int) -> int:
    for n in range(steps):
        tell("work", n, steps)
    return steps


def test_a_child_tells_how_far_it_is() -> None:
    heard: list[tuple[str, float, float | None]] = []
    assert run_limited(work, 3, watch=lambda *told: heard.append(told)) == 3
    assert heard == [("work", 0.0, 3.0), ("work", 1.0, 3.0), ("work", 2.0, 3.0)]
    assert run_limited(work, 3) == 3


def test_a_child_ends_when_nobody_watches_any_more(tmp_path: Path) -> None:
    code = "from tests.test_child import *; run_limited(endless, Path(sys.argv[1]), watch=print, seconds=60)"
    root = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", "import sys\n" + code, str(tmp_path / "pid")], cwd=root) as parent:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        parent.kill()
    child = int((tmp_path / "pid").read_text())
    for _attempt in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    raise AssertionError("the child goes on")


def endless(path: Path) -> None:
    path.write_text(str(os.getpid()))
    while True:
        tell("endless", 0, None)
        time.sleep(0.05)
