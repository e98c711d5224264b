"""Which encoding a text file is in, with the evidence.

A byte order mark says it; valid UTF-8 with letters beyond ASCII is UTF-8 (random bytes hardly ever are); what is left
is decoded as each candidate, and the letters beside each other decide: Russian texts are told from their other
readings by the share of common letter pairs, Western texts by accented letters standing among Latin ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tuneloop.errors import BadInput
from tuneloop.texts import _

HEAD = 256 << 10  # bytes read from the start
PIECE = 64 << 10  # bytes read from each of PIECES places further on
PIECES = 4
MIXED = 0.05  # share of lines, of those with letters beyond ASCII, that are valid UTF-8 by chance in no other encoding
LEAST_LETTERS, LEAST_WORDS = 12, 0.5  # of lines in a second encoding, to be sure of it
SINGLE_BYTE = ("cp1251", "koi8-r", "cp866", "cp1252", "mac_cyrillic", "iso8859-5")
BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)

# The 120 pairs that make up three quarters of all letter pairs in Russian novels of the 19th century.
_PAIRS = (
    "то ст на не по но ко го ка ал ов ро ни ра во ен ли пр ол ло ор от ел ть ва ос ла та ре ер ак за од он ет те ве ом"
    " ил ри де да ог ат ес ан ле ит ем ся ск до ль ас ме бы се аз че же мо ин ки ам ой ны об ег ти ви чт ми вс ав сь ар"
    " ед им тр сл ма ру вы ну ис ив нн со ди ик хо бо пе ча бе ое тв чи ку ше му ок ыл из ей дн ая ие уд ду ев ад са оч"
    " ши ож кр ич уж св их зн ня ля си ый"
)
PAIRS = frozenset(_PAIRS.split())


@dataclass(frozen=True, slots=True)
class Encoding:
    """The name Python knows it by, how it was found, and how well the best two candidates fit (0 to 1)."""

    name: str
    how: str  # "bom", "utf-8", "mixed" with lines in `second`, "ascii", "zero bytes", "letters", "asked"
    fit: float = 1.0
    second: str = ""
    second_fit: float = 0.0


def encoding(path: Path) -> Encoding:
    """The encoding of a text file. Raises BadInput when it holds no text."""
    return encoding_of(pieces(path))


def pieces(path: Path) -> list[bytes]:
    """The head of a file and some pieces further on, each from the start of a line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        found = [file.read(HEAD)]
        for n in range(1, PIECES + 1):
            start = size * n // (PIECES + 1)
            if start > HEAD:
                file.seek(start)
                found.append(file.read(PIECE).partition(b"\n")[2])
    return found


def encoding_of(parts: list[bytes]) -> Encoding:
    """The encoding of a text given by its head and pieces of its rest."""
    head = parts[0]
    for mark, name in BOMS:
        if head.startswith(mark):
            return Encoding(name, "bom")
    if head.count(0) > 0.9 * len(head):
        raise _no_text()
    if wide := _utf16(head):
        return Encoding(wide, "zero bytes")
    whole = b"\n".join(parts)
    if not whole.strip(b"\x00 \r\n\t"):
        raise BadInput(_("the file is empty"), fix=_("Choose a file with rows in it."))
    if whole.isascii():
        if sum(whole.count(bytes([n])) for n in range(9)) > len(whole) / 10:
            raise _no_text()
        return Encoding("utf-8", "ascii")
    # A piece may end inside a letter: cut what follows its last line end.
    text = b"\n".join(part[: part.rfind(b"\n") + 1] or part for part in parts).decode("utf-8", "surrogateescape")
    letters = sum(1 for c in text if c > "\x7f")
    broken = sum(1 for c in text if "\udc80" <= c <= "\udcff")
    # A single-byte text has next to no valid sequences; a UTF-8 file with some lines pasted from elsewhere has many.
    if broken and (found := _mixed(parts)):
        return found
    if broken * 4 <= letters - broken:
        return Encoding("utf-8", "utf-8", fit=1 - broken / max(1, letters))
    return _single_byte(whole)


def _mixed(parts: list[bytes]) -> Encoding | None:
    """UTF-8 with lines in another encoding; None when these are too few letters, or look like no words."""
    lines = [line for part in parts for line in part.splitlines()[:-1] if not line.isascii()]
    broken = [line for line in lines if "\ufffd" in line.decode("utf-8", "replace")]
    raw = b"\n".join(broken)
    whole = len(lines) - len(broken)
    if whole < max(3, MIXED * len(lines)) or len(re.findall(rb"[\x80-\xff]", raw)) < LEAST_LETTERS:
        return None
    try:
        other = _single_byte(raw)
    except BadInput:
        return None
    return Encoding("utf-8", "mixed", 1.0, other.name, other.fit) if other.fit >= LEAST_WORDS else None


def _no_text() -> BadInput:
    return BadInput(_("the file holds no text"), fix=_("Choose a table: CSV, Excel, Parquet, JSON lines, SQLite."))


def _utf16(head: bytes) -> str:
    """UTF-16 without a mark: nearly every other byte is 0 (Latin, digits) or 4 (Cyrillic)."""
    for name, high in (("utf-16-le", head[1:2000:2]), ("utf-16-be", head[0:2000:2])):
        if len(high) >= 4 and sum(b in (0, 4) for b in high) > 0.9 * len(high) and 0 in high:
            return name
    return ""


def _single_byte(raw: bytes) -> Encoding:
    # Only places with letters beyond ASCII tell; 40,000 of them settle it.
    shown = b" ".join(re.findall(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*", raw))[:40_000]
    fits = sorted(((round(_fit(shown.decode(name, "replace")), 3), -n, name) for n, name in enumerate(SINGLE_BYTE)))
    (fit, _n, best), (second_fit, _m, second) = fits[-1], fits[-2]
    if fit < 0:
        raise BadInput(
            _("the file is text in no encoding known here (the nearest is {name})").format(name=best),
            fix=_("Name it with --encoding, or save the file as UTF-8."),
        )
    return Encoding(best, "letters", fit, second, second_fit)


def _fit(text: str) -> float:
    """How much a decoded text looks like words, mean over its letters beyond ASCII: 1 at best, -1 at worst."""
    points = 0.0
    count = 0
    for word in text.split():
        for before, letter, after in zip(" " + word, word, word[1:] + " ", strict=False):
            if letter <= "\x7f":
                continue
            count += 1
            points += _point(before, letter, after)
    return points / max(1, count)


def _point(before: str, letter: str, after: str) -> float:
    if "а" <= letter.lower() <= "я" or letter in "ёЁ":
        if _latin(before) or _latin(after):
            return -1.0
        if letter.isupper() and before.islower():
            return -1.0
        if "а" <= before.lower() <= "я":
            return 1.0 if (before + letter).lower() in PAIRS else 0.2
        return 0.5
    if letter.isalpha() and letter <= "\u024f":  # accented Latin
        return 0.8 if (_latin(before) or _latin(after)) and not (letter.isupper() and before.islower()) else -0.3
    if letter in "№«»—–“”„’‘…°€£§©®²³½·•\u00a0":
        return 0.2
    return -1.0  # lines of boxes, replacement characters, other scripts


def _latin(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()
