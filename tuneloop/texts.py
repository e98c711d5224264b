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
_spoken: ContextVar[str] = ContextVar("spoken", default="")


def use(language: str) -> None:
    """Choose the language of all texts from here on; anything but Russian is English."""
    global _chosen  # noqa: PLW0603  one process speaks one language, chosen once at the door
    _chosen = "ru" if language.lower().startswith("ru") else "en"


def language() -> str:
    """The language in use: "en" or "ru"."""
    return _spoken.get() or _chosen


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Another language inside the block, for this thread or task only: answers are in their question's language."""
    token = _spoken.set("ru" if language.lower().startswith("ru") else "en")
    try:
        yield
    finally:
        _spoken.reset(token)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("tuneloop", LOCALE, languages=[language], fallback=True)


def _(text: str) -> str:
    chosen = _spoken.get() or _chosen
    return text if chosen == "en" else _catalogue(chosen).gettext(text)


def n_(one: str, many: str, n: int) -> str:
    """The form that fits the number (Russian has three); format with `.format(n=n)` afterwards."""
    chosen = _spoken.get() or _chosen
    if chosen == "en":
        return one if n == 1 else many
    return _catalogue(chosen).ngettext(one, many, n)
