"""Words of a question, a column name or a cell in one form: tokens with their dictionary forms and a sound skeleton.

A Russian word gets its lemmas from pymorphy3, an English one the stems its ending allows; both get a Latin skeleton
in which sounds that languages spell differently are one letter, so that "Куинстаун" meets "Queenstown".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

_TOKEN = re.compile(
    r"(?P<quote>«[^»]+»|“[^”]+”|\"[^\"]+\"|(?<!\w)'[^']+'(?!\w))"
    r"|(?P<number>\d{1,3}(?:[ \u00a0\u202f,]\d{3})+(?![\d])(?:[.]\d+)?|\d+(?:[.,]\d+)?)"
    r"|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)"
    r"|(?P<sign>>=|<=|!=|[<>=≥≤%$€₽£#,?+&/-])"
)
_CYRILLIC = re.compile(r"[а-яё]")
_CAMEL = re.compile(r"(?<=[a-zа-яё])(?=[A-ZА-ЯЁ])|(?<=[A-Z])(?=[A-Z][a-z])")

_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "persons": "person", "won": "win",
    "paid": "pay", "spent": "spend", "sold": "sell", "bought": "buy", "made": "make", "had": "have", "has": "have",
    "went": "go", "gone": "go", "cost": "cost", "lost": "lose", "held": "hold", "took": "take", "taken": "take",
    "got": "get", "built": "build", "ran": "run", "wrote": "write", "written": "write", "led": "lead", "beat": "beat",
    "left": "leave", "came": "come", "drove": "drive", "driven": "drive", "flew": "fly", "born": "born", "died": "die",
    "dead": "die", "death": "die", "lives": "live", "lived": "live", "heaviest": "heavy", "heavier": "heavy",
    "countries": "country", "cities": "city", "is": "be", "are": "be", "was": "be", "were": "be", "been": "be",
    "does": "do", "did": "do", "done": "do", "said": "say", "grew": "grow", "fell": "fall", "rose": "rise",
    "data": "data", "species": "species", "series": "series", "news": "news", "less": "less", "class": "class",
    "average": "average", "more": "more", "most": "most", "least": "least", "further": "far", "farther": "far",
    "furthest": "far", "farthest": "far", "mice": "mouse", "feet": "foot", "wives": "wife", "better": "good",
    "summer": "summer", "dinner": "dinner", "number": "number", "order": "order",
    "offer": "offer", "letter": "letter", "matter": "matter", "best": "good", "worse": "bad", "worst": "bad",
    "earnings": "earn",
}  # fmt: skip

_PLURALS = frozenset(("men", "women", "children", "people", "persons", "mice", "feet", "wives"))

# pymorphy3 takes these for other words.
_RUSSIAN = {"самой": "самый", "самом": "самый"}

_LATIN = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "s", "з": "z", "и": "i", "й": "i", "к": "k",
    "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "h",
    "ц": "ts", "ч": "s", "ш": "s", "щ": "s", "ъ": "", "ы": "i", "ь": "", "э": "e", "ю": "iu", "я": "ia",
}  # fmt: skip
_SOUNDS = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"sch|sh|ch|tch|zh|dzs|ds(?=[aeiou])|j", "s"),
        (r"ph", "f"),
        (r"th", "t"),
        (r"kh", "h"),
        (r"qu|kv(?=[aeiou])|ku(?=[aeiou])", "kv"),
        (r"ck", "k"),
        (r"c(?=[eiy])", "s"),
        (r"[cq]", "k"),
        (r"x", "ks"),
        (r"oo|ou", "u"),
        (r"ee|ea|y", "i"),
        (r"ow|aw", "au"),
        (r"[wv]", "f"),
        (r"(.)\1", r"\1"),
    )
)

_ENDINGS = (
    ("iest", ("y",)),
    ("ies", ("y", "ie")),
    ("ied", ("y",)),
    ("ier", ("y",)),
    ("es", ("", "e")),
    ("s", ("",)),
    ("ed", ("", "e")),
    ("ing", ("", "e")),
    ("est", ("", "e")),
    ("er", ("", "e")),
    ("wal", ("w", "we")),  # nouns of verbs: renewal, arrival, refusal
    ("val", ("v", "ve")),
    ("sal", ("s", "se")),
    ("wals", ("w", "we")),
    ("vals", ("v", "ve")),
    ("sals", ("s", "se")),
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, quoted string or sign; `keys` are the dictionary forms it may have, `text` is lower case."""

    text: str
    raw: str
    kind: str  # "word" | "number" | "quote" | "sign"
    keys: frozenset[str]
    start: int = 0
    end: int = 0


@lru_cache(maxsize=1 << 14)
def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of a text; «quoted» strings are one token without their quotes."""
    found = []
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        raw = match.group()
        if kind == "quote":
            raw = raw[1:-1].strip()
        clean = raw.lower().replace("ё", "е").replace("’", "'").removesuffix("'s")
        keys = forms(clean) if kind == "word" else frozenset((clean,))
        found.append(Token(clean, raw, kind, keys, match.start(), match.end()))
    return tuple(found)


def name_tokens(name: str) -> tuple[Token, ...]:
    """The tokens of a column name: snake_case, camelCase and dots are word borders too."""
    return tokens(_CAMEL.sub(" ", name.replace("_", " ").replace(".", " ").replace("-", " ")))


@lru_cache(maxsize=1 << 16)
def forms(word: str) -> frozenset[str]:
    """Dictionary forms that a lower-case word may have, itself included."""
    if word in _RUSSIAN:
        return frozenset((word, _RUSSIAN[word]))
    if _CYRILLIC.search(word):
        parses = _analyser().parse(word)[:4]
        best = parses[0].score if parses else 0.0
        return frozenset({word, *(p.normal_form.replace("ё", "е") for p in parses if p.score >= 0.2 * best)})
    return frozenset(_english_forms(word))


def _english_forms(word: str) -> set[str]:
    word = word.replace("'", "")
    if word in _IRREGULAR:
        return {word, _IRREGULAR[word]}
    found = {word}
    if len(word) < 4 or word.endswith(("ss", "us")):
        return found
    for ending, others in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 3:
            continue
        found.update(stem + other for other in others)
        if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "sl" and ending[0] in "ei":
            found.add(stem[:-1])  # bigger -> big, stopped -> stop
        if ending[0] == "i" and len(ending) > 2 and ending != "ing":
            break  # "carries" is "carry", not "carri"
    return found


def part_of_speech(word: str) -> str:
    """pymorphy3's part of speech of a Russian word ("NOUN", "VERB", ...); "" for words in Latin letters."""
    if not _CYRILLIC.search(word):
        return ""
    return str(_analyser().parse(word)[0].tag.POS or "")


_NOUN_ENDS = re.compile(r"(?:ировани|овани|енчани|ани|яни|ени|ти|аци)[еяю]$|к[аи]$")
_VERB_ENDS = re.compile(r"(?:изировать|ировать|овать|ывать|ивать|нуть|ать|ять|еть|ить|ть)(?:ся)?$")


@lru_cache(maxsize=1 << 12)
def verbal_stem(word: str) -> str:
    """The stem that a Russian verb shares with its noun ("уволился", "увольнение": "увол"); "" of other words."""
    if not _CYRILLIC.search(word):
        return ""
    for parse in _analyser().parse(word)[:3]:
        lemma, pos = parse.normal_form.replace("ё", "е"), str(parse.tag.POS or "")
        ends = _NOUN_ENDS if pos == "NOUN" else _VERB_ENDS if pos in ("VERB", "INFN", "PRTF", "PRTS", "GRND") else None
        if ends is not None and (cut := ends.search(lemma)) and cut.start() >= 3:
            return re.sub(r"(?<=[бпвмф])л$|(?<=л)ьн$|ь$", "", lemma[: cut.start()])
    return ""


def is_plural(word: str) -> bool:
    """Whether a noun is in the plural; of an English one its ending says so."""
    if not _CYRILLIC.search(word):
        return word in _PLURALS or (word.endswith("s") and not word.endswith(("ss", "us", "is")))
    return str(_analyser().parse(word)[0].tag.number or "") == "plur"


def is_mass(word: str) -> bool:
    """Whether a Russian noun after "сколько" is in the singular, as only what is not counted piece by piece is."""
    parses = [p for p in _analyser().parse(word) if "NOUN" in p.tag and "gent" in p.tag]
    return bool(parses) and all("sing" in p.tag for p in parses)


def is_order(word: str) -> bool:
    """Whether a Russian word is a verb in the imperative and hardly anything else."""
    parses = _analyser().parse(word)[:2] if is_cyrillic(word) else []
    return bool(parses) and "impr" in parses[0].tag and not any("NOUN" in p.tag for p in parses)


def is_known(word: str) -> bool:
    """Whether the dictionary has this Russian word; False of words in Latin letters."""
    return is_cyrillic(word) and bool(_analyser().word_is_known(word))


@lru_cache(maxsize=1 << 12)
def inflections(lemma: str) -> frozenset[str]:
    """All forms of a Russian dictionary word; just the word itself for Latin letters."""
    if not _CYRILLIC.search(lemma):
        return frozenset((lemma,))
    return frozenset(form.word.replace("ё", "е") for form in _analyser().parse(lemma)[0].lexeme)


@lru_cache(maxsize=1 << 15)
def skeleton(word: str) -> str:
    """How a word sounds, in Latin letters: one letter for what languages spell differently."""
    latin = "".join(_LATIN.get(c, c) for c in word)
    for pattern, sound in _SOUNDS:
        latin = pattern.sub(sound, latin)
    return latin


def is_cyrillic(text: str) -> bool:
    return _CYRILLIC.search(text.lower()) is not None


def distance(a: str, b: str, most: int) -> int:
    """Edits between two words (insert, delete, replace, swap neighbours); `most` + 1 when there are more.

    Optimal string alignment, F. J. Damerau, Communications of the ACM 7(3), 1964.
    """
    if abs(len(a) - len(b)) > most:
        return most + 1
    earlier: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            edits = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                edits = min(edits, earlier[j - 2] + 1)
            row.append(edits)
        if min(row) > most:
            return most + 1
        earlier, last = last, row
    return last[-1]


@cache
def _analyser() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer()
