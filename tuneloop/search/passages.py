"""Cut a document into passages that a question can find and a model can read.

A passage is an unbroken piece of the document of at most LENGTH characters. It ends where a paragraph ends when that
leaves it at least half full, else at the end of a sentence; cut inside a paragraph, the next one begins with the
sentence before the cut, so that "he" and "there" keep what they mean. A heading begins a passage and never ends one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LENGTH = 800  # characters: a paragraph or two, of which five fit a window of 2,048 tokens also in Russian
OVERLAP = 200  # characters of the sentence that is repeated, at most

_PARAGRAPH = re.compile(r"[^\n]+(?:\n(?!\s*\n)[^\n]+)*")
_HEADING = re.compile(r"[ \t]*(?:#{1,6}[ \t]+\S.*|={2,6}[ \t]*\S.*?={2,6}[ \t]*)")
# The end of a sentence, not of "e.g." or an initial; and of a line, which is as good in lists and in verse.
_STOP = re.compile(
    r"(?<=[^\W\d_]{3}[.!?…])[\"'»”)\]]*\s+(?=[^\W_a-zа-яё]|[«\"“(—–-])|(?<=[.!?…;:])\s*\n|\n(?=\s*[-*•\d])"
)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence or a heading, text[start:end]. opens: a paragraph begins with it."""

    start: int
    end: int
    opens: bool
    heading: bool


def cut(text: str, *, length: int = LENGTH, overlap: int = OVERLAP) -> list[str]:
    """The passages of a text in its order, [] when it holds nothing but space. Each is a slice of the text."""
    return [text[start:end].strip() for start, end in spans(text, length=length, overlap=overlap)]


def spans(text: str, *, length: int = LENGTH, overlap: int = OVERLAP) -> Iterator[tuple[int, int]]:
    """(start, end) of every passage, space at its ends included; together they leave out nothing but space."""
    pieces = list(_pieces(text, length))
    begin = 0  # of the passage: the first of its pieces
    fresh = 0  # its first piece that no earlier passage holds
    for at, piece in enumerate(pieces):
        if at == fresh:
            continue
        size = pieces[at - 1].end - pieces[begin].start
        fits = piece.end - pieces[begin].start <= length
        section = piece.heading and not pieces[at - 1].heading and size >= length / 4
        paragraph = piece.opens and size >= length / 2 and _paragraph_end(pieces, at) - pieces[begin].start > length
        if fits and not section and not paragraph:
            continue
        yield pieces[begin].start, pieces[at - 1].end
        last = pieces[at - 1]
        near = not piece.opens and at - 1 > begin and last.end - last.start <= overlap
        begin, fresh = (at - 1 if near and piece.end - last.start <= length else at), at
    if pieces:
        yield pieces[begin].start, pieces[-1].end


def _paragraph_end(pieces: list[_Piece], at: int) -> int:
    while at + 1 < len(pieces) and (not pieces[at + 1].opens or pieces[at].heading):
        at += 1
    return pieces[at].end


def _pieces(text: str, length: int) -> Iterator[_Piece]:
    for paragraph in _PARAGRAPH.finditer(text):
        start, opens = paragraph.start(), True
        for line in _lines_with_headings(text, start, paragraph.end()):
            heading = _HEADING.fullmatch(text, *line) is not None
            for begin, end in [line] if heading else _sentences(text, *line):
                for piece in _short(text, begin, end, length):
                    yield _Piece(*piece, opens=opens, heading=heading)
                    opens = heading


def _lines_with_headings(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A paragraph, apart from headings that stand on a line right above or below it."""
    begin = start
    while begin < end:
        stop = text.find("\n", begin, end)
        stop = end if stop < 0 else stop
        if _HEADING.fullmatch(text, begin, stop) is None:
            while stop < end:
                following = text.find("\n", stop + 1, end)
                following = end if following < 0 else following
                if _HEADING.fullmatch(text, stop + 1, following) is not None:
                    break
                stop = following
        yield begin, stop
        begin = stop + 1


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for stop in _STOP.finditer(text, start, end):
        yield begin, stop.end()
        begin = stop.end()
    if begin < end:
        yield begin, end


def _short(text: str, start: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    """A piece longer than a passage: cut at a line's end, else at a space, else anywhere."""
    while end - start > length:
        half = start + length // 2
        stop = max(text.rfind("\n", half, start + length), -1)
        stop = stop if stop > 0 else text.rfind(" ", half, start + length)
        stop = stop + 1 if stop > 0 else start + length
        yield start, stop
        start = stop
    if text[start:end].strip():
        yield start, end
