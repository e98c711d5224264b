"""Words of Russian and English chat text: tokens, stop words, lemmas (pymorphy3, cached)."""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

TOKEN = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
# Placeholders, and links: their parts (github, html, blob) would pass for somebody's favourite words.
NOISE = re.compile(r"\[[a-z]+\]|(?:https?://|www\.|t\.me/)\S+", re.IGNORECASE)
_CYRILLIC = re.compile(r"[а-яё]")


def _lists() -> dict[str, frozenset[str]]:
    with (Path(__file__).parent / "words.toml").open("rb") as handle:
        return {name: frozenset(words.split()) for name, words in tomllib.load(handle).items()}


LISTS = _lists()
FUNCTION = LISTS["stop_ru"] | LISTS["stop_en"]
STOP = FUNCTION | LISTS["particles"]


def tokens(text: str) -> list[str]:
    """Lower-case words; placeholders of the privacy step, links and numbers are left out."""
    return TOKEN.findall(NOISE.sub(" ", text).lower())


@lru_cache(maxsize=200_000)
def lemma(word: str) -> str:
    """The dictionary form of a Russian word; a word in Latin letters as it is. ё becomes е."""
    if not _CYRILLIC.search(word):
        return word
    return str(_analyser().parse(word)[0].normal_form).replace("ё", "е")


def lemmas(text: str) -> set[str]:
    """The content words of a text, as lemmas."""
    return {found for word in tokens(text) if len(word) > 2 and (found := lemma(word)) not in STOP and word not in STOP}


@cache
def _analyser() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer()
