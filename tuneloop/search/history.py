"""The team's own history as an answerer: the nearest old question's answer, with no model at all.

BM25 (Robertson & Zaragoza 2009, k1 = 1.2, b = 0.75) over lemmas. It is the contestant a tuned model has to beat,
and the source of the examples that a base model is shown.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tuneloop.records import Example

_WORD = re.compile(r"[^\W_]+")
_K1, _B = 1.2, 0.75


class History:
    """An index over answered questions. 10,000 examples take 0.1 ms a question; nothing is written to disk."""

    def __init__(self, examples: Sequence[Example]) -> None:
        """examples: answered questions that may be used (the training part, never the held-out one)."""
        self.examples = list(examples)
        documents = [Counter(lemmas(e.question)) for e in self.examples]
        lengths = np.array([sum(d.values()) for d in documents], dtype=np.float64)
        mean = lengths.mean() if len(lengths) else 1.0
        self._norm = _K1 * (1 - _B + _B * lengths / max(mean, 1e-9))
        self._postings: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        gathered: dict[str, list[tuple[int, int]]] = {}
        for number, document in enumerate(documents):
            for lemma, count in document.items():
                gathered.setdefault(lemma, []).append((number, count))
        for lemma, rows in gathered.items():
            ids, counts = zip(*rows, strict=True)
            self._postings[lemma] = (np.array(ids), np.array(counts, dtype=np.float64))

    def nearest(self, question: str, k: int = 1) -> list[tuple[Example, float]]:
        """The k answered questions most like this one with their BM25 scores, best first; fewer when fewer match."""
        scores = np.zeros(len(self.examples))
        n = len(self.examples)
        for lemma in set(lemmas(question)):
            if lemma in self._postings:
                ids, counts = self._postings[lemma]
                idf = math.log(1 + (n - len(ids) + 0.5) / (len(ids) + 0.5))
                scores[ids] += idf * counts * (_K1 + 1) / (counts + self._norm[ids])
        # A stable order: equal scores go to the earlier example.
        best = np.argsort(-scores, kind="stable")[:k]
        return [(self.examples[i], float(scores[i])) for i in best if scores[i] > 0]

    def answer(self, question: str) -> str:
        """The nearest question's answer; "" when no word is shared with any."""
        found = self.nearest(question)
        return found[0][0].answer if found else ""


def lemmas(text: str) -> list[str]:
    """Lower-case words, Russian ones as dictionary forms."""
    return [_lemma(word.replace("ё", "е")) for word in _WORD.findall(text.lower())]


@lru_cache(maxsize=200_000)
def _lemma(word: str) -> str:
    if not ("а" <= word[0] <= "я"):
        return word
    return str(_morphology().parse(word)[0].normal_form)


@lru_cache(maxsize=1)
def _morphology():  # type: ignore[no-untyped-def]  # pymorphy3 has no types
    import pymorphy3

    return pymorphy3.MorphAnalyzer()
