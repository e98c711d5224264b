"""The shipped word lists: phrases that say what is asked, and words that stand for each other in two languages."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuneloop.ask import numbers
from tuneloop.ask.words import Token, forms, tokens

FOLDER = Path(__file__).parent / "lexicon"

Phrase = tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class Cue:
    """A phrase of the question that says what is asked: its meaning and its tokens [start, end)."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Measure:
    """What an adjective measures: concepts in the order to try; sign: more of it is more (+1) or less (-1)."""

    concepts: tuple[tuple[str, int], ...]
    sign: int
    generic: bool = False  # "large" is only a measure when no other one is named


@cache
def _read(name: str) -> dict[str, Any]:
    with (FOLDER / f"{name}.toml").open("rb") as handle:
        return tomllib.load(handle)


def _phrases(text: str) -> list[Phrase]:
    return [tuple(t.keys for t in tokens(phrase)) for phrase in text.split(";") if phrase.strip()]


class Phrases:
    """Phrases by their meaning, found in a row of tokens by the forms of their words."""

    def __init__(self, meanings: Iterable[tuple[str, str]]) -> None:
        self.first: dict[str, list[tuple[Phrase, str]]] = {}
        for meaning, text in meanings:
            for phrase in _phrases(text):
                for key in phrase[0]:
                    self.first.setdefault(key, []).append((phrase, meaning))

    def at(self, found: Sequence[Token], i: int) -> list[tuple[str, int]]:
        """(meaning, length) of every phrase that starts at token i."""
        seen: dict[str, int] = {}
        for key in found[i].keys:
            for phrase, meaning in self.first.get(key, ()):
                if length := _length(phrase, found, i):
                    seen[meaning] = max(length, seen.get(meaning, 0))
        return list(seen.items())


def _length(phrase: Phrase, found: Sequence[Token], i: int) -> int:
    """Tokens that the phrase takes from token i on, hyphens among them; 0 when it does not fit."""
    j = i
    for keys in phrase:
        if j > i and j < len(found) and found[j].text == "-":
            j += 1
        if j >= len(found) or keys.isdisjoint(found[j].keys):
            return 0
        j += 1
    return j - i


@cache
def _cue_phrases() -> Phrases:
    return Phrases(_read("cues")["cues"].items())


@cache
def _concept_phrases() -> Phrases:
    return Phrases([*_read("concepts")["columns"].items(), *_read("cells")["cells"].items()])


@cache
def _cell_phrases() -> Phrases:
    return Phrases(_read("cells")["cells"].items())


@cache
def _measure_phrases() -> Phrases:
    return Phrases((words, words) for words in _read("concepts")["measures"])


@cache
def _opposite_phrases() -> Phrases:
    return Phrases(_read("concepts")["opposites"].items())


@cache
def fillers() -> frozenset[str]:
    """Words that carry no condition."""
    return frozenset(_read("cues")["fillers"]["words"].split())


@cache
def words(name: str) -> frozenset[str]:
    """One of the small sets of words."""
    return frozenset(word.replace("_", " ") for word in _read("cues")["words"][name].split())


@cache
def person_words() -> frozenset[str]:
    """Words for whoever a row may be about."""
    return frozenset(_read("cues")["fillers"]["people"].split())


@cache
def vocabulary() -> frozenset[str]:
    """Every word of the cue lists, for finding typing errors."""
    return frozenset(
        t.text for text in _read("cues")["cues"].values() for phrase in text.split(";") for t in tokens(phrase)
    )


def cues(found: Sequence[Token]) -> list[Cue]:
    """All cue phrases, from left to right; at one place only the longest ones (several meanings may share it)."""
    result: list[Cue] = []
    for i in range(len(found)):
        hits = _cue_phrases().at(found, i)
        result += [Cue(name, i, i + length) for name, length in hits]
    return [c for c in result if not any(_hides(other, c) for other in result)]


def _hides(other: Cue, cue: Cue) -> bool:
    longer = other.end - other.start > cue.end - cue.start
    return longer and other.start <= cue.start and other.end >= cue.end


def concepts(found: Sequence[Token]) -> list[frozenset[str]]:
    """For each token the meanings it carries, alone or as part of a phrase."""
    return _carried(_concept_phrases(), found)


def cell_concepts(found: Sequence[Token]) -> list[frozenset[str]]:
    """For each token the meanings a cell may have, alone or as part of a phrase."""
    return _carried(_cell_phrases(), found)


def _carried(phrases: Phrases, found: Sequence[Token]) -> list[frozenset[str]]:
    carried: list[set[str]] = [set() for _ in found]
    for i in range(len(found)):
        for meaning, length in phrases.at(found, i):
            for j in range(i, i + length):
                carried[j].add(meaning)
    return [frozenset(meanings) for meanings in carried]


def measures(found: Sequence[Token]) -> dict[int, tuple[Measure, int]]:
    """Token -> what the adjective that starts there measures, and its length in tokens."""
    result = {}
    for i in range(len(found)):
        for words, length in sorted(_measure_phrases().at(found, i), key=lambda hit: hit[1]):
            sign, *names = _read("concepts")["measures"][words]
            direction = 1 if sign[0] == "+" else -1
            parts = tuple((n.lstrip("-"), -direction if n.startswith("-") else direction) for n in names)
            result[i] = (Measure(parts, direction, sign.endswith("?")), length)
    return result


def opposites(found: Sequence[Token]) -> list[Cue]:
    """Words that mean the other side of a flag; the cue's name is the flag's concept."""
    return [Cue(name, i, i + n) for i in range(len(found)) for name, n in _opposite_phrases().at(found, i)]


@cache
def _spelt_units() -> dict[str, frozenset[str]]:
    written = _read("cues")["units"].items()
    return {key: frozenset(short.split()) for words, short in written for t in tokens(words) for key in t.keys}


def units_of(token: Token) -> frozenset[str]:
    """How a unit that is said in full is written in headers: "tonnes" as "t" and "т"; empty of other words."""
    return next((_spelt_units()[key] for key in sorted(token.keys) if key in _spelt_units()), frozenset())


def is_filler(token: Token) -> bool:
    return token.kind == "sign" or (token.kind == "word" and not token.keys.isdisjoint(fillers()))


def lexicon_words(meaning: str) -> list[str]:
    """The words of one concept, as written in the lists."""
    text = _read("concepts")["columns"].get(meaning, "") + ";" + _read("cells")["cells"].get(meaning, "")
    return [t.text for phrase in text.split(";") for t in tokens(phrase)]


def has_concept(word: str) -> bool:
    """Whether some column or cell concept holds a form of this word by itself."""
    keys = forms(word)
    return any(len(phrase) == 1 for key in keys for phrase, _meaning in _concept_phrases().first.get(key, ()))


def known_word(word: str) -> bool:
    """Whether the lists hold a form of this word."""
    keys = forms(word)
    return not (
        keys.isdisjoint(numbers.SMALL.keys() | numbers.ORDINALS.keys() | numbers.SCALES.keys())
        and keys.isdisjoint(fillers())
        and keys.isdisjoint(_concept_phrases().first)
        and keys.isdisjoint(_cue_phrases().first)
    )
