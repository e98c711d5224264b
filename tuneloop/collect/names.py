"""All the forms in which a chat writes a person's name.

A recogniser of names finds none of 120 names written in lower case, as chats write them; the export's own roster
knows who is there. From each display name this makes: every word, its Russian inflections (pymorphy3), everyday
short forms (Александр: саша, сашке), Latin transliterations and, for Latin names, the way back to Cyrillic.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

WORD = re.compile(r"[^\W\d_]+")
CYRILLIC = re.compile(r"[а-яё]", re.IGNORECASE)
_NAME_TAGS = ("Name", "Surn", "Patr")
# Parts of speech (OpenCorpora's tags) that are no names. Short adjectives are: Ситников, Хромов.
_FUNCTION = frozenset({"CONJ", "PREP", "NPRO", "PRCL", "PRED", "INTJ", "ADVB", "COMP", "VERB", "INFN"})
# More spellings of one form than this are of no use and cost memory: 2,000 members x 12 forms x 8 = 200,000 words.
_SPELLINGS = 8

# How people type Russian letters in Latin, commonest first (ГОСТ 7.79, passports, chats).
_LATIN = {
    "а": ("a",), "б": ("b",), "в": ("v",), "г": ("g",), "д": ("d",), "е": ("e", "ye"), "ё": ("e", "yo"),
    "ж": ("zh", "j"), "з": ("z",), "и": ("i",), "й": ("y", "i", "j"), "к": ("k",), "л": ("l",), "м": ("m",),
    "н": ("n",), "о": ("o",), "п": ("p",), "р": ("r",), "с": ("s",), "т": ("t",), "у": ("u",), "ф": ("f",),
    "х": ("kh", "h"), "ц": ("ts", "c"), "ч": ("ch",), "ш": ("sh",), "щ": ("shch", "sch"), "ъ": ("",), "ы": ("y",),
    "ь": ("",), "э": ("e",), "ю": ("yu", "iu", "ju"), "я": ("ya", "ia", "ja"),
}  # fmt: skip
# The way back, longest first.
_CYRILLIC = (
    ("shch", "щ"), ("sch", "щ"), ("yo", "ё"), ("zh", "ж"), ("kh", "х"), ("ts", "ц"), ("ch", "ч"), ("sh", "ш"),
    ("yu", "ю"), ("iu", "ю"), ("ju", "ю"), ("ya", "я"), ("ia", "я"), ("ja", "я"), ("ck", "к"), ("ph", "ф"),
    ("a", "а"), ("b", "б"), ("c", "к"), ("d", "д"), ("e", "е"), ("f", "ф"), ("g", "г"), ("h", "х"), ("i", "и"),
    ("j", "й"), ("k", "к"), ("l", "л"), ("m", "м"), ("n", "н"), ("o", "о"), ("p", "п"), ("q", "к"), ("r", "р"),
    ("s", "с"), ("t", "т"), ("u", "у"), ("v", "в"), ("w", "в"), ("x", "кс"), ("y", "й"), ("z", "з"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forms:
    """Words to look up after `fold`. `always`: whatever the case. `capital`: only written with a capital,
    because in lower case they are ordinary words ("java", "тест") or too short to be told from one.
    `phrases`: first word -> the rest of each display name of several words, found in any case."""

    always: frozenset[str]
    capital: frozenset[str]
    phrases: dict[str, tuple[tuple[str, ...], ...]]


def fold(word: str) -> str:
    """Lower case, ё as е: how forms are compared."""
    return word.lower().replace("ё", "е")


def forms(names: Iterable[str], *, without: Iterable[str] = ()) -> Forms:
    """Every form of every word of these display names that can stand for the person.

    without: words (folded) that only count within a whole name.
    """
    names = list(names)
    always: set[str] = set()
    capital: set[str] = set()
    phrases: dict[str, set[tuple[str, ...]]] = {}
    written = [tuple(fold(w) for w in WORD.findall(name)) for name in names]
    for first, *rest in (words for words in written if len(words) > 1 and len("".join(words)) > 4):
        phrases.setdefault(first, set()).add(tuple(rest))
    for word in {word for name in names for word in _telling(WORD.findall(name))} - set(without):
        sure, doubtful = _forms_of_word(word)
        if len(word) > 2 and not _ordinary(word):
            always |= sure
            capital |= doubtful
        else:
            capital |= {form for form in sure | doubtful if len(form) > 1}
    longest_first = {first: tuple(sorted(rests, key=len, reverse=True)) for first, rests in phrases.items()}
    return Forms(frozenset(always), frozenset(capital - always), longest_first)


def _telling(words: list[str]) -> list[str]:
    """The words of a display name that are looked for one by one; the others only count in the whole name.

    In a load-testing group of 729 display names, "Одесса как она есть", "Java AQA", "QA - Load & Performance" and
    the titles of forwarded channels made two thirds of 2,467 masks, none of them of a person.
    """
    if len(words) > 4:  # a sentence: "i think it's not okay"
        return []
    known = [w for word in words if len(w := fold(word)) > 1 and w not in _name_data()["not_names"]]
    if len(words) == 1:
        return known
    told = [w for w in known if not _tells_nothing(w)]
    # "Тестировщики нужны", "Heisenbug - канал конференции": a title, for a name has no ordinary word in lower case
    plain = any(word[0].islower() and _ordinary(fold(word)) for word in words if len(word) > 1)
    return [] if plain and not any(_reads_as_name(w) for w in told) else told


def _tells_nothing(word: str) -> bool:
    """A function word, or what somebody does for a living: "она", "есть", "the", "qa"."""
    if not CYRILLIC.search(word):
        return word in _name_data()["roles"]
    if _is_name(word) or not morphology().word_is_known(word):
        return False
    tag = morphology().parse(word)[0].tag
    return tag.POS in _FUNCTION or "Apro" in tag


def _reads_as_name(word: str) -> bool:
    stem = word if CYRILLIC.search(word) else _to_cyrillic(word)
    return bool(stem) and _is_name(stem)


@cache
def _forms_of_word(word: str) -> tuple[frozenset[str], frozenset[str]]:
    """(sure, doubtful): the doubtful ones are ordinary words unless a capital says otherwise ("тема" of Артём)."""
    stem = word if CYRILLIC.search(word) else _to_cyrillic(word)
    if stem != word and not (stem and _is_name(stem)):
        # "xX_dark_Xx" becomes nonsense in Cyrillic; only what reads as a Russian name is inflected.
        return frozenset({word}), frozenset()
    own = set(_inflections(stem))
    shorts = set(_short_forms(stem))
    derived = {form for short in shorts for form in _inflections(short, plural=False)} | set(_possessives(stem))
    own |= set(_surname(stem))
    latin = {spelling for form in {stem} | shorts for spelling in _to_latin(form) if len(spelling) > 3 or form == stem}
    # Shorter inflected Latin forms are English words: "time" (Тиме), "file" (Филе), "may".
    latin |= {spelling for form in own | derived for spelling in _to_latin(form) if len(spelling) > 4}
    doubtful = {form for form in derived - own if form in _name_data()["ambiguous"] or len(form) < 3}
    doubtful |= {form for form in own - {stem} if _ordinary(form) and CYRILLIC.search(form)}
    doubtful |= {form for form in _possessives(stem) if _name_share(form) < 0.1 and morphology().word_is_known(form)}
    doubtful |= {spelling for spelling in latin if spelling in _name_data()["ordinary"]}
    return frozenset({word} | own | derived | latin) - doubtful, frozenset(doubtful)


@cache
def morphology() -> Any:
    """The one pymorphy3 analyser of the process (25 ms to load)."""
    import pymorphy3

    return pymorphy3.MorphAnalyzer()


def _inflections(word: str, *, plural: bool = True) -> Iterator[str]:
    yield word
    parses = morphology().parse(word)
    named = [p for p in parses if any(t in p.tag for t in _NAME_TAGS)]
    for parse in named or parses[:2]:
        for form in parse.lexeme:
            # Plurals of given names are ordinary words ("день", "лень", "свет") and nobody writes "у двух Лень".
            if "plur" not in form.tag or (plural and "Name" not in parse.tag):
                yield fold(form.word)


def _possessives(word: str) -> Iterator[str]:
    """Маринин, Сашина: what the dictionary does not list."""
    if word.endswith(("а", "я")) and _is_name(word):
        yield from (word[:-1] + "ин" + ending for ending in ("", "а", "о", "у", "ы", "ой", "ого", "ых", "ым"))


def _surname(word: str) -> Iterator[str]:
    """Ситникову, Рамовым: surnames that the dictionary takes for another word or does not know."""
    if len(word) > 4 and word.endswith(("ов", "ев", "ин", "ын")) and not _is_name(word):
        yield from (word + ending for ending in ("а", "у", "ым", "е", "ой", "ы", "ых"))


def _name_share(word: str) -> float:
    return float(sum(p.score for p in morphology().parse(word) if any(t in p.tag for t in _NAME_TAGS)))


def _short_forms(name: str) -> Iterator[str]:
    """Саша gives александр, александра and all their short forms; what is no given name gives nothing."""
    data = _name_data()
    bases = {fold(p.normal_form) for p in morphology().parse(name)[:3]} | {name}
    for full in {
        f for base in bases for f in (*data["full"].get(base, ()), *([base] if base in data["short"] else ()))
    }:
        yield full
        for short in data["short"][full]:
            yield short
            if short.endswith(("ша", "ня", "ля", "на", "ра", "та", "да", "ва", "са", "ся")):
                yield short[:-1] + ("ка" if short[-1] == "а" else "ька")
    if name.endswith("а") and len(name) > 4 and _is_name(name):
        yield from (name[:-1] + "ка", name[:-1] + "очка", name[:-1] + "уля")


def _to_latin(word: str) -> Iterator[str]:
    word = word.replace("йя", "я")  # Майя: maya
    options = [_LATIN.get(letter, (letter,)) for letter in word]
    if (at := word.find("кс")) >= 0:
        options[at : at + 2] = [("x", "ks"), ("",)]  # Алексей: alexey
    if word.endswith(("ий", "ый")):
        options[-2:] = [("y", "iy", "ii", "ij", "i")]
    if len(options) > 1 and word.endswith(("ья", "ия")):
        options[-2:] = [("ia", "iya", "ya", "ja")]
    for number, letters in enumerate(product(*options)):
        if number >= _SPELLINGS:
            return
        yield "".join(letters)


def _to_cyrillic(word: str) -> str:
    rest, made = word, ""
    while rest:
        for latin, letter in _CYRILLIC:
            if rest.startswith(latin):
                made, rest = made + letter, rest[len(latin) :]
                break
        else:
            return ""
    # Names in -iy/-y/-ij: Dmitriy, Vitaly, Evgenij
    return re.sub(r"(?:ий|ии|(?<=[бвгджзклмнпрстфхцчшщ])й)$", "ий", made)


def _is_name(word: str) -> bool:
    return any(any(t in p.tag for t in _NAME_TAGS) for p in morphology().parse(word)) or word in _name_data()["full"]


def _ordinary(word: str) -> bool:
    """An ordinary word in lower case: a dictionary word with no reading as a name."""
    if not CYRILLIC.search(word):
        return word in _name_data()["ordinary"]
    return bool(morphology().word_is_known(word)) and not _is_name(word)


@cache
def _name_data() -> dict[str, Any]:
    raw = tomllib.loads((Path(__file__).parent / "names.toml").read_text(encoding="utf-8"))
    short = {fold(full): tuple(fold(s) for s in shorts.split()) for full, shorts in raw["short"].items()}
    full: dict[str, list[str]] = {}
    for name, shorts in short.items():
        for s in shorts:
            full.setdefault(s, []).append(name)
    return {
        "short": short,
        "full": full,
        "ordinary": frozenset(raw["ordinary"]["words"].split()),
        "ambiguous": frozenset(raw["ordinary"]["ambiguous"].split()),
        "not_names": frozenset(raw["ordinary"]["never"].split()),
        "roles": frozenset(raw["ordinary"]["roles"].split()),
    }
