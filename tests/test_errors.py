"""The tree drawn at the top of errors.py is the tree of the classes."""

from __future__ import annotations

import pickle
import re

from tuneloop import errors


def drawn() -> list[tuple[int, str, int]]:
    lines = [line for line in str(errors.__doc__).splitlines() if " exit " in line]
    found = []
    for line in lines:
        match = re.match(r"([ │├└─]*)(\w+)\s+exit (\d)", line)
        assert match, line
        found.append(((len(match[1]) - 4) // 4, match[2], int(match[3])))
    return found


def walk(kind: type[errors.TuneloopError], depth: int = 0) -> list[tuple[int, str, int]]:
    below = [row for child in kind.__subclasses__() for row in walk(child, depth + 1)]
    return [(depth, kind.__name__, kind.exit_code), *below]


def test_drawing_is_the_tree() -> None:
    assert drawn() == walk(errors.TuneloopError)


def test_errors_cross_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(errors.Damaged("cut off", fix="Export it again.")))
    assert (type(error), error.message, error.fix) == (errors.Damaged, "cut off", "Export it again.")
