"""One function in a limited child: whatever it does, the caller gets a value or one clear error."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tuneloop import texts
from tuneloop.child import run_limited
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
