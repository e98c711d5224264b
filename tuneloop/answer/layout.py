"""Where things stand in the text of a tuneloop.toml: the line of a key, the order of tables, the space between them.

Headers and keys are known by their shape and texts of several lines are skipped; that is enough to name a line, and
whoever rewrites the text with it compares what it says before and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile

_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_ENTRY = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)")


def line_of(source: str, path: tuple[str, ...]) -> int | None:
    """The line where `path` is written, else the first with as much of it as there is; None when nothing is.

    Reads headers and keys by their shape and skips texts of several lines; values written as {inline = tables} are
    found by the line of their key.
    """
    best, found = 0, None
    header: tuple[str, ...] = ()
    for number, line in enumerate(_outside_texts(source.splitlines()), 1):
        here: tuple[str, ...] = ()
        if match := _HEADER.match(line):
            here = header = _parts(match[1])
        elif match := _ENTRY.match(line):
            here = header + _parts(match[1])
        shared = sum(1 for _pair in takewhile(lambda pair: pair[0] == pair[1], zip(here, path, strict=False)))
        if shared > best:
            best, found = shared, number
    return found


def grouped(source: str) -> str:
    """The same file with the tables of every section beside each other, each with the comments above it.

    A file whose tables stand together comes back as it is.
    """
    lines = source.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    starts: list[int] = []
    paths: list[tuple[str, ...]] = []
    above = 0  # where the comments above this line begin
    for number, line in enumerate(_outside_texts(lines)):
        if match := _HEADER.match(line.rstrip("\r\n")):
            starts.append(above)
            paths.append(_parts(match[1]))
        if not line.lstrip().startswith("#"):
            above = number + 1
    first: dict[tuple[str, ...], int] = {}
    for position, path in enumerate(paths):
        for depth in range(1, len(path) + 1):
            first.setdefault(path[:depth], position)
    blocks = ["".join(lines[a:b]) for a, b in pairwise([*starts, len(lines)])]
    order = sorted(range(len(blocks)), key=lambda n: [first[paths[n][:d]] for d in range(1, len(paths[n]) + 1)])
    if order == list(range(len(blocks))):
        return source
    return "".join(lines[: starts[0]]) + "".join(blocks[n] for n in order)


def spaced(source: str) -> str:
    """The same file with an empty line above every table and its comments."""
    lines = source.splitlines(keepends=True)
    for number, line in reversed(list(enumerate(_outside_texts(lines)))):
        above = lines[number - 1].strip() if number else ""
        if _HEADER.match(line.rstrip("\r\n")) and above and not above.startswith("#"):
            lines.insert(number, "\n")
    return "".join(lines)


def _outside_texts(lines: Sequence[str]) -> Iterator[str]:
    """The lines, empty where they are inside a text of several lines."""
    inside = ""  # its quotes
    for line in lines:
        if inside:
            inside = "" if line.count(inside) % 2 else inside
            yield ""
            continue
        yield line
        inside = next((quotes for quotes in ('"""', "'''") if line.count(quotes) % 2), "")


def _parts(written: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(written))
