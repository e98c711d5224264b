"""Which columns and cells a question names: by the words themselves, synonyms in two languages, sound, and typos.

Strength of a word's match: 1.0 the same word, 0.94 another form of it, 0.92 two forms of one word ("orders" and
"ordered"), 0.9 a synonym, 0.8 the same sound in other letters. A column of several words is named the more, the more
of its rarer words are said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tuneloop.ask import lexicon
from tuneloop.ask.columns import Column, Profile
from tuneloop.ask.words import (
    Token,
    distance,
    forms,
    is_cyrillic,
    name_tokens,
    skeleton,
    tokens,
    verbal_stem,
)

SAME, FORM, KIN, SYNONYM, SOUND = 1.0, 0.94, 0.92, 0.9, 0.8
LEAST_NAMED = 0.3  # a third of a column's name, weighted by rarity, is the least that may stand for it
MOST_CELL_WORDS = 12  # longer cells are prose; nobody names them in a question word by word


@dataclass(frozen=True, slots=True)
class Mention:
    """A column or a cell that some tokens of the question name. `cell` is None for the column itself."""

    column: Column
    cell: str | None
    places: frozenset[int]
    score: float
    rivals: tuple[str, ...] = ()  # other columns that fit these words as well
    whole: bool = True  # False when the words are only a part of the cell
    missed: int = 0  # words of the column's name that were not said

    @property
    def start(self) -> int:
        return min(self.places)

    @property
    def end(self) -> int:
        return max(self.places) + 1


@dataclass(frozen=True, slots=True)
class _Word:
    keys: frozenset[str]
    meanings: frozenset[str]
    weight: float
    text: str
    light: bool  # a unit, an article, "name": the other words say which column it is


@dataclass(frozen=True)
class Index:
    """The words of one table: of each column's name, and where each word of a cell occurs."""

    profile: Profile
    names: tuple[tuple[_Word, ...], ...]
    cells: dict[str, list[tuple[int, int, int]]]  # key or "#concept" -> (column, cell, word in the cell)
    lengths: dict[tuple[int, int], int]  # content words of a cell
    sounds: dict[str, list[str]]  # skeleton -> keys of cells and names written in that way


@lru_cache(maxsize=8)
def index(profile: Profile) -> Index:
    """Words of the columns and of the cells kept in the profile; made once per table."""
    named = _spelt_out([_name_words(column) for column in profile.columns])
    counts: dict[str, int] = defaultdict(int)
    for words in named:
        for key in {key for word in words for key in word.keys}:
            counts[key] += 1
    names = tuple(tuple(replace(w, weight=w.weight / max(counts[k] for k in w.keys)) for w in words) for words in named)
    cells: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    lengths: dict[tuple[int, int], int] = {}
    sounds: dict[str, set[str]] = defaultdict(set)
    for c, column in enumerate(profile.columns):
        for v, cell in enumerate(column.values):
            said = [t for t in tokens(cell) if t.kind != "sign"][: MOST_CELL_WORDS + 1]
            if not said or len(said) > MOST_CELL_WORDS:
                continue
            lengths[c, v] = len(said)
            for w, (token, meanings) in enumerate(zip(said, lexicon.cell_concepts(said), strict=True)):
                for key in (*token.keys, *(f"#{meaning}" for meaning in meanings)):
                    cells[key].append((c, v, w))
                if token.kind == "word" and len(token.text) > 2:
                    sounds[skeleton(token.text)].add(token.text)
    return Index(profile, names, dict(cells), lengths, {k: sorted(v) for k, v in sounds.items()})


@lru_cache(maxsize=4096)
def _name_words(column: Column) -> list[_Word]:
    found = [part for t in name_tokens(column.name) if t.kind != "sign" for part in _compound(t)]
    words = []
    for token, meanings in zip(found, lexicon.concepts(found), strict=True):
        named = len(found) > 1 and token.text in ("name", "names", "title", "имя", "название", "наименование")
        little = token.text in ("of", "the", "id", "no", "to", "at", "on", "and", "и", "в", "по", "на", "к")
        light = named or (len(found) > 1 and (little or token.text in lexicon.words("units")))
        words.append(_Word(token.keys, meanings, 0.15 if light else 1.0, token.text, light))
    return words


def _spelt_out(named: list[list[_Word]]) -> list[list[_Word]]:
    """One-letter words as the word of other columns that they stand for ("w_ace" beside "winner_name")."""
    counts: dict[str, int] = defaultdict(int)
    for words in named:
        for word in words:
            counts[word.text] += len(words) > 1
    result = []
    for words in named:
        spelt = []
        for word in words:
            letter = word.text
            longer = [other for other, n in counts.items() if n >= 2 and len(other) > 3 and other[0] == letter]
            if len(letter) == 1 and len(words) > 1 and len(longer) == 1:
                found = tokens(longer[0])
                spelt.append(replace(word, keys=found[0].keys | word.keys, meanings=lexicon.concepts(found)[0]))
            else:
                spelt.append(word)
        result.append(spelt)
    return result


def _compound(token: Token) -> list[Token]:
    """A name written together ("bodymass", "pclass") as its known parts; the word itself where there are none."""
    text = token.text
    if token.kind != "word" or len(text) < 5 or lexicon.known_word(text):
        return [token]
    for cut in range(1, len(text) - 2):
        left, right = text[:cut], text[cut:]
        if ((cut == 1 and len(right) > 3) or (cut > 2 and lexicon.has_concept(left))) and lexicon.has_concept(right):
            return [Token(part, part, "word", forms(part)) for part in (left, right)]
    return [token]


def links(question: Sequence[Token], profile: Profile) -> list[Mention]:
    """The columns and cells named, best reading first where they share words; mentions may overlap."""
    table = index(profile)
    meanings = lexicon.concepts(question)
    return _cells(question, lexicon.cell_concepts(question), table) + _columns(question, meanings, table)


@lru_cache(maxsize=4096)
def columns_named(token: Token, column: Column) -> tuple[Mention, ...]:
    """The column as a mention, when this one word is in its name (in any form, synonym or sound)."""
    words = _name_words(column)
    meanings = lexicon.concepts([token])[0]
    best = max((_match(token, meanings, word) for word in words), default=0.0)
    return (Mention(column, None, frozenset((0,)), best),) if best else ()


def _columns(question: Sequence[Token], meanings: Sequence[frozenset[str]], table: Index) -> list[Mention]:
    found = []
    for column, words in zip(table.profile.columns, table.names, strict=True):
        hits = {}
        for i, token in enumerate(question):
            if token.kind == "sign" or (token.kind == "number" and not any(token.text in w.keys for w in words)):
                continue
            best = max(((_match(token, meanings[i], word), w) for w, word in enumerate(words)), default=(0.0, 0))
            if best[0]:
                hits[i] = best
        found += [m for i, t in enumerate(question) if (m := _written_together(column, words, t, i))]
        for run in _runs(sorted(hits), question):
            ends = range(len(run)) if len(run) <= 5 else (0,)
            parts = [run[a:b] for a in ends for b in range(a + 1, len(run) + 1)] if len(run) <= 5 else [run]
            for part in parts:
                found += _named(column, words, {i: hits[i] for i in part})
    return found


def _written_together(column: Column, words: Sequence[_Word], token: Token, i: int) -> Mention | None:
    """A name of two words or three said in one: "промокод" is the column "Promo Code"."""
    if token.kind != "word" or len(token.text) < 6 or not 2 <= len(words) <= 3:
        return None
    joined = "".join(word.text for word in words)
    if joined in token.keys:
        return Mention(column, None, frozenset((i,)), SAME)
    other = is_cyrillic(token.text) != is_cyrillic(joined)
    return Mention(column, None, frozenset((i,)), SOUND) if other and _sounds_alike(token, joined) else None


def _match(token: Token, meanings: frozenset[str], word: _Word) -> float:
    if token.text in word.keys:
        return SAME
    if not token.keys.isdisjoint(word.keys):
        if is_cyrillic(token.text):
            return SAME
        return FORM if word.text in token.keys else KIN
    if (
        len(token.text) > 1
        and not meanings.isdisjoint(word.meanings)
        and token.text not in lexicon.words("auxiliaries")
    ):
        return SYNONYM
    if (stem := verbal_stem(token.text)) and stem == verbal_stem(word.text):
        return KIN
    if len(token.text) > 3 and any(
        is_cyrillic(token.text) != is_cyrillic(key) and _sounds_alike(token, key) for key in word.keys if len(key) > 3
    ):
        return SOUND
    return 0.0


def _runs(places: list[int], question: Sequence[Token]) -> Iterable[list[int]]:
    """Neighbouring places; one or two words without meaning may stand between ("the length of the bill")."""
    run: list[int] = []
    for i in places:
        if run and not (i - run[-1] <= 4 and all(_joins(question[j]) for j in range(run[-1] + 1, i))):
            yield run
            run = []
        run.append(i)
    if run:
        yield run


def _joins(token: Token) -> bool:
    """Words that may stand inside a name: little ones, and a comparison ("completed fewer than 100 projects")."""
    return token.kind == "number" or token.text in lexicon.words("little")


def _named(column: Column, words: Sequence[_Word], hits: dict[int, tuple[float, int]]) -> list[Mention]:
    whole = sum(word.weight for word in words) or 1.0
    best: dict[int, float] = {}
    for strength, w in hits.values():
        best[w] = max(best.get(w, 0.0), strength)
    if all(words[w].weight < 0.3 * max(x.weight for x in words) for w in best):
        return []  # only the unit or an article
    score = sum(strength * words[w].weight for w, strength in best.items()) / whole
    if not _says_head(words, best):
        score *= 0.4  # "nights" alone is not the column "price per night"
    if len(words) > 1 and all(x.light or w in best for w, x in enumerate(words)):
        score = max(score, min(best.values()))
    missed = sum(not word.light for w, word in enumerate(words) if w not in best)
    return [Mention(column, None, frozenset(hits), score, missed=missed)] if score >= LEAST_NAMED else []


def _says_head(words: Sequence[_Word], said: Iterable[int]) -> bool:
    """Whether a word before the preposition of a name is said; a head as general as "number" need not be."""
    at = next((w for w, word in enumerate(words) if w and word.text in _PREPOSITIONS), len(words))
    head = [w for w in range(at) if words[w].text not in lexicon.words("heads") and not words[w].light]
    return at == len(words) or not head or any(w < at for w in said)


_BEFORE_MODIFIERS = "in per of to for from before after в во на до от по из у с со за для при"
_PREPOSITIONS = frozenset(_BEFORE_MODIFIERS.split())


def _cells(question: Sequence[Token], meanings: Sequence[frozenset[str]], table: Index) -> list[Mention]:
    """Cells all of whose words stand in one run of the question, or one distinctive word of a longer cell."""
    hits: dict[tuple[int, int], dict[float, tuple[float, int]]] = defaultdict(dict)
    for i, token in enumerate(question):
        if token.kind == "quote":
            for j, part in enumerate(tokens(token.raw)):
                _note(hits, i + j / 100, part, frozenset(), table)
        elif token.kind != "sign" and not _is_article(token):
            _note(hits, i, token, meanings[i], table)
    found = []
    for (c, v), by_place in hits.items():
        column, length = table.profile.columns[c], table.lengths[c, v]
        for run in _cell_runs(sorted(by_place)):
            covered: dict[int, float] = {}
            for place in run:
                strength, w = by_place[place]
                covered[w] = max(covered.get(w, 0.0), strength)
            score = sum(covered.values()) / length
            if len(covered) < length and min(covered.values()) == SYNONYM and _phrase_covers(run, meanings, column, v):
                score, covered = SYNONYM, dict.fromkeys(range(length), SYNONYM)
            places = frozenset(int(i) for i in run)
            if len(covered) == length:
                found.append(Mention(column, column.values[v], places, score))
            elif _distinctive(
                run, question, score, length, min(covered.values()), frozenset(t.text for t in tokens(column.values[v]))
            ):
                found.append(Mention(column, column.values[v], places, 0.75 * score + 0.1, whole=False))
    return found


def _is_article(token: Token) -> bool:
    """ "a match" does not speak of the level "A", nor «в физике» of the class "В"."""
    return len(token.text) == 1 and token.raw.islower() and lexicon.is_filler(token)


def _note(
    hits: dict[tuple[int, int], dict[float, tuple[float, int]]],
    place: float,
    token: Token,
    meanings: frozenset[str],
    table: Index,
) -> None:
    """Enter a token into every cell that has its word, the strongest match first."""
    for key in token.keys:
        for c, v, w in table.cells.get(key, ()):
            hits[c, v][place] = max(hits[c, v].get(place, (0.0, w)), (SAME, w))
    if len(token.text) > 1:
        for meaning in meanings:
            for c, v, w in table.cells.get(f"#{meaning}", ()):
                if place not in hits[c, v]:
                    hits[c, v][place] = (SYNONYM, w)
    if len(token.text) > 3 and token.kind == "word":
        for key in _sound_keys(token.text, table):
            for c, v, w in table.cells.get(key, ()):
                if place not in hits[c, v]:
                    hits[c, v][place] = (SOUND, w)


def _phrase_covers(run: Sequence[float], meanings: Sequence[frozenset[str]], column: Column, v: int) -> bool:
    """Whether a synonym of the whole cell was said in fewer words ("криптовалюта", "копирайтинг")."""
    said = frozenset.intersection(*(meanings[int(i)] for i in run))
    cell = lexicon.cell_concepts([t for t in tokens(column.values[v]) if t.kind != "sign"])
    return bool(cell) and not said.isdisjoint(frozenset.intersection(*cell))


def _cell_runs(places: list[float]) -> Iterable[list[float]]:
    run: list[float] = []
    for i in places:
        if run and i - run[-1] > 2:
            yield run
            run = []
        run.append(i)
    if run:
        yield run


def _distinctive(
    run: Sequence[float], question: Sequence[Token], score: float, length: int, strength: float, words: frozenset[str]
) -> bool:
    """A part of a cell counts when it is at least half of it, or a name of five letters and more."""
    said = [question[int(i)] for i in run]
    if any(t.kind == "word" and t.text not in words for t in said if not is_cyrillic(t.text)):
        return False
    if all(lexicon.is_filler(t) or len(t.text) < 3 or t.kind == "number" for t in said) or strength < SAME:
        return False
    return score >= 0.5 or (length <= 6 and any(t.raw[:1].isupper() or len(t.text) > 4 for t in said))


def same_word(token: Token, key: str) -> bool:
    """A form of the word, or the same sound in the other script."""
    return key in token.keys or (
        len(key) > 3
        and is_cyrillic(token.text) != is_cyrillic(key)
        and len(token.text) > 3
        and _sounds_alike(token, key)
    )


def _sounds_alike(token: Token, key: str) -> bool:
    return any(_close(skeleton(form), skeleton(key)) for form in token.keys)


def _close(a: str, b: str) -> bool:
    if a[:1] != b[:1]:
        return False
    longest = max(len(a), len(b))
    return distance(a, b, 2) <= (0 if longest < 4 else 1 if longest < 8 else 2)


def _sound_keys(word: str, table: Index) -> list[str]:
    """Words of the cells in the other script that sound like this one."""
    here = is_cyrillic(word)
    found = []
    wanted = {skeleton(form) for form in forms(word)}
    for sound, keys in table.sounds.items():
        other = [key for key in keys if is_cyrillic(key) != here]
        if other and any(_close(w, sound) for w in wanted):
            found += other
    return found
