"""Lemmas and BM25 over them: which of many short texts share the words of a question.

BM25 (Robertson & Zaragoza 2009, k1 = 1.2, b = 0.75) over lemmas, in arrays: one text takes about 8 bytes for each
different lemma it holds, and the texts themselves are not kept.
"""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+")
_K1, _B = 1.2, 0.75
# Words of questions and sentences about anything, as `lemmas` gives them: finding one says nothing of what is asked.
_ANYWHERE = """
а без бы был быть в во весь вот все всякий вы где да для до его ее если есть еще же за и из или иметь именно их к как
какой какова каков ко когда который кто куда ли лишь между меня мой можно мочь мы на над надо наш не нет ни них но ну о
об один она они оно он от откуда перед по под после потом потому почему при про с сам свой себя сколько со стать так
также такой там то тогда тоже только тот ты у уже чей чем через что чтобы чье это этот я являться называть называться
находиться
a about after all also am an and any are as at be been being but by can could did do does for from had has have he her
him his how i if in into is it its me my no not of on or our over she should so some than that the their them then there
these they this those to under up us was we were what when where which while who whom whose why will with would you your
"""
_COMMON = frozenset(_ANYWHERE.split())
_BACKGROUND = 1000  # passages that a share imagines beside those there are, holding only the common words

Scores = NDArray[np.float64]


class Bm25:
    """An index over texts given as their lemmas; texts are known by their position. Never changes."""

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        self._terms: dict[str, int] = {}
        terms, rows, counts, lengths = array("i"), array("i"), array("i"), array("i")
        for number, lemmas_of_text in enumerate(texts):
            counted = Counter(lemmas_of_text)
            terms.extend([self._terms.setdefault(lemma, len(self._terms)) for lemma in counted])
            counts.extend(counted.values())
            rows.extend([number] * len(counted))
            lengths.append(len(lemmas_of_text))
        self.size = len(lengths)
        held = np.array(lengths, dtype=np.float64)
        mean = held.mean() if self.size else 1.0
        self._norm = _K1 * (1 - _B + _B * held / max(mean, 1e-9))
        term_of = np.array(terms, dtype=np.int32)
        order = np.argsort(term_of, kind="stable")
        self._starts = np.searchsorted(term_of[order], np.arange(len(self._terms) + 1))
        self._rows = np.array(rows, dtype=np.int32)[order]
        self._counts = np.array(counts, dtype=np.float32)[order]

    def __len__(self) -> int:
        return self.size

    def scores(self, question: Iterable[str]) -> tuple[Scores, Scores]:
        """Of every text: its BM25 score (0: no lemma shared), and the share of the question it holds, 0 to 1.

        The share weighs each lemma of the question by how rare it is (its idf, here and in a thousand more texts
        that hold only common words, or in a collection of three a word would weigh less for being known). What no
        text holds weighs most, so a question about something else has a low share.
        """
        found, held, asked = np.zeros(self.size), np.zeros(self.size), 0.0
        for lemma in dict.fromkeys(question):
            term = self._terms.get(lemma)
            start, end = (0, 0) if term is None else (int(self._starts[term]), int(self._starts[term + 1]))
            idf = _idf(self.size, end - start)
            weight = _idf(self.size + _BACKGROUND, end - start + (_BACKGROUND if lemma in _COMMON else 0))
            asked += weight
            if term is not None:
                ids, counts = self._rows[start:end], self._counts[start:end]
                found[ids] += idf * counts * (_K1 + 1) / (counts + self._norm[ids])
                held[ids] += weight
        return found, held / asked if asked else held

    def best(self, question: Iterable[str], k: int) -> list[tuple[int, float, float]]:
        """(position, score, share) of the k texts that score highest, best first; only those that share a lemma."""
        scores, shares = self.scores(question)
        if 0 < k < self.size:
            least = np.partition(scores, self.size - k)[self.size - k]
            some = np.flatnonzero(scores >= max(least, 1e-12))  # with every equal of the last: earlier ones go first
        else:
            some = np.flatnonzero(scores)
        order = some[np.argsort(-scores[some], kind="stable")][:k]
        return [(int(i), float(scores[i]), float(shares[i])) for i in order]


def _idf(texts: int, holding: int) -> float:
    return math.log(1 + (texts - holding + 0.5) / (holding + 0.5))


def lemmas(text: str) -> list[str]:
    """Lower-case words: Russian ones as dictionary forms, English ones in the singular; without stress marks."""
    plain = unicodedata.normalize("NFC", text.lower()).replace("\u0301", "").replace("\u00ad", "").replace("ё", "е")
    return [_lemma(word) for word in _WORD.findall(plain)]


@lru_cache(maxsize=200_000)
def _lemma(word: str) -> str:
    if "а" <= word[0] <= "я":
        return str(_morphology().parse(word)[0].normal_form)
    return _singular(word) if len(word) > 3 and word[-1] == "s" and word.isascii() else word


def _singular(word: str) -> str:
    """The S stemmer (Harman 1991, "How effective is suffixing?"): first passage right for 93.0 % of 632 English
    questions instead of 92.4 %; Porter's -ing and -ed beside it added 0.2."""
    if word.endswith("ies"):
        return word if word[-4] in "ea" else word[:-3] + "y"
    if word.endswith("es"):
        return word if word[-3] in "aeo" else word[:-1]
    return word if word[-2] in "us" else word[:-1]


@lru_cache(maxsize=1)
def _morphology():  # type: ignore[no-untyped-def]  # pymorphy3 has no types
    import pymorphy3

    return pymorphy3.MorphAnalyzer()
