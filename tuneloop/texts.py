"""The user's language: every sentence a person sees goes through `_`.

Source texts are English; Russian lives in `locale/ru/LC_MESSAGES/tuneloop.po`. A test fails when a text has
no Russian translation. Format after translating: `_("{n} messages kept").format(n=n)`.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "ru")
LOCALE = Path(__file__).parent / "locale"

# What a terminal obeys (control characters, C1 among them), what turns a line's order round (U+202E ...), and halves of
# characters, which no file takes. Zero-width joiners stay: emoji and Persian are written with them.
_TURNED = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SIGNS = (
    {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
    | dict.fromkeys((*range(0x80, 0xA0), *_TURNED, *range(0xD800, 0xE000)), "\ufffd")
    | {0x7F: "\u2421", 0x200E: "", 0x200F: "", 0x2028: " ", 0x2029: " "}
)
_IN_JSON = str.maketrans({code: f"\\u{code:04x}" for code in _SIGNS if code > 0x7E})

_chosen = "en"
# What one conversation speaks, in a process that talks with several people; asyncio.to_thread takes it along.
_here: ContextVar[str] = ContextVar("language", default="")


def use(language: str) -> None:
    """Choose the language of all texts from here on; anything but Russian is English."""
    global _chosen  # noqa: PLW0603  one process speaks one language, chosen once at the door
    _chosen = _known(language)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Another language inside the block, for this thread or asyncio task only."""
    before = _here.set(_known(language))
    try:
        yield
    finally:
        _here.reset(before)


def language() -> str:
    """The language in use: "en" or "ru"."""
    return _here.get() or _chosen


def _known(language: str) -> str:
    return "ru" if language.lower().startswith("ru") else "en"


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("tuneloop", LOCALE, languages=[language], fallback=True)


def _(text: str) -> str:
    spoken = language()
    return text if spoken == "en" else _catalogue(spoken).gettext(text)


def n_(one: str, many: str, n: int) -> str:
    """The form that fits the number (Russian has three); format with `.format(n=n)` afterwards."""
    spoken = language()
    if spoken == "en":
        return one if n == 1 else many
    return _catalogue(spoken).ngettext(one, many, n)


def visible(text: str) -> str:
    """Text of others, to be read and not obeyed: signs in place of control characters ("␛[31m"), no turned lines.

    Marks of direction, which every line of a WhatsApp export begins with, are left out; tabs and line ends stay.
    """
    return text.replace("\r\n", "\n").translate(_SIGNS)


def visible_json(text: str) -> str:
    """A JSON document with the same characters written as \\uXXXX: the same data, harmless on a terminal."""
    return text.translate(_IN_JSON)
