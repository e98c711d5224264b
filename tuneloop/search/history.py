"""The team's own history as an answerer: the nearest old question's answer, with no model at all.

It is the contestant a tuned model has to beat, and the source of the examples that a base model is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuneloop.records import Example
from tuneloop.search.bm25 import Bm25, lemmas

__all__ = ["History", "lemmas"]


class History:
    """An index over answered questions. 10,000 examples take 0.1 ms a question; nothing is written to disk."""

    def __init__(self, examples: Sequence[Example]) -> None:
        """examples: answered questions that may be used (the training part, never the held-out one)."""
        self.examples = list(examples)
        self._index = Bm25(lemmas(e.question) for e in self.examples)

    def nearest(self, question: str, k: int = 1) -> list[tuple[Example, float]]:
        """The k answered questions most like this one with their BM25 scores, best first; fewer when fewer match."""
        return [(self.examples[i], score) for i, score, _share in self._index.best(lemmas(question), k)]

    def answer(self, question: str) -> str:
        """The nearest question's answer; "" when no word is shared with any."""
        found = self.nearest(question)
        return found[0][0].answer if found else ""
