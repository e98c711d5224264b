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
