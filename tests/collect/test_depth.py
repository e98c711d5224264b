"""The guard measures nesting exactly as a parser would see it, whatever the chunks, and stops bombs at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuneloop.collect.depth import Guard
from tuneloop.errors import Hostile

TEXT = st.text(alphabet='[]{}"\\ab/u\n', max_size=12)
TREE = st.recursive(
    TEXT | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner), max_leaves=20
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@example(tree=[{}], size=4, limit=1)
@given(tree=TREE, size=st.integers(1, 9), limit=st.integers(0, 6))
def test_guard_agrees_with_a_parser(tree: Any, size: int, limit: int) -> None:
    raw = json.dumps(tree).encode()
    guard = Guard("x", limit)
    refused = False
    try:
        for start in range(0, len(raw), size):
            guard.feed(raw[start : start + size])
    except Hostile:
        refused = True
    assert refused == (depth_of(tree) > limit)
    assert refused or guard.depth == 0


def test_sixty_four_levels_pass_and_one_more_does_not() -> None:
    Guard("x").feed(b"[" * 64 + b"]" * 64)
    with pytest.raises(Hostile, match="x is JSON nested deeper than 64"):
        Guard("x").feed(b"[" * 65)


def test_wide_is_not_deep() -> None:
    Guard("x").feed(b"[" + b"[],{}," * 100_000 + b"1]")


def test_brackets_inside_strings_do_not_count() -> None:
    guard = Guard("x")
    guard.feed(b'{"a": "' + b"[{" * 500)
    guard.feed(b'\\"' + b"[" * 500 + b'\\\\"}')
    assert guard.depth == 0


def test_speed_is_above_a_hundred_megabytes_a_second() -> None:
    item = json.dumps({"id": 1, "text": ["слово " * 20, {"type": "bold", "text": "a\\n"}]}, ensure_ascii=False).encode()
    chunk = b",".join([item] * 4000)
    fastest = 9.0
    for _turn in range(5):
        guard = Guard("x")
        started = time.process_time()
        guard.feed(chunk)
        fastest = min(fastest, time.process_time() - started)
    assert len(chunk) / fastest > 100e6


@pytest.mark.parametrize(
    ("form", "levels"),
    [("[", 1_000), ("[", 78_000), ("[", 5_000_000), ('{"a":', 78_000), ('{"messages":[', 78_000), ('[{"a":', 400_000)],
)
def test_bombs_are_refused_in_a_second_and_a_hundred_megabytes(tmp_path: Any, form: str, levels: int) -> None:
    bomb = tmp_path / "result.json"
    bomb.write_text(form * levels)
    code = (
        "import resource, sys, time\n"
        "from pathlib import Path\n"
        "from tuneloop.collect import source, telegram\n"
        "from tuneloop.collect.walker import Walker\n"
        "from tuneloop.errors import Hostile\n"
        "started = time.process_time()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    (part,) = source.parts(Path(sys.argv[1]))\n"
        "    list(telegram.read(Walker(part.opener(), 'x', part.encoding), {}))\n"
        "except Hostile: print('refused')\n"
        "assert time.process_time() - started < 1\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bomb)], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
