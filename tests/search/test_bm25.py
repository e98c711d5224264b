"""BM25 beside the formula written out; lemmas of two languages; the share of a question that a text holds."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.search.bm25 import Bm25, lemmas

WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=12)


@given(st.lists(WORDS, max_size=8), WORDS)
def test_scores_are_those_of_the_paper(texts: list[list[str]], question: list[str]) -> None:
    index = Bm25(texts)
    scores, _shares = index.scores(question)
    mean = sum(map(len, texts)) / max(len(texts), 1)
    for text, score in zip(texts, scores, strict=True):
        expected = 0.0
        for term in set(question) & set(text):
            holding = sum(term in other for other in texts)
            idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            count = Counter(text)[term]
            expected += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(text) / mean))
        assert score == pytest.approx(expected, rel=1e-5)


@given(st.lists(WORDS, max_size=30), WORDS, st.integers(1, 40))
def test_the_best_are_the_head_of_all_sorted(texts: list[list[str]], question: list[str], k: int) -> None:
    index = Bm25(texts)
    scores, shares = index.scores(question)
    order = sorted((i for i in range(len(texts)) if scores[i] > 0), key=lambda i: (-scores[i], i))[:k]
    assert index.best(question, k) == [(i, scores[i], shares[i]) for i in order]
    assert all(0 <= share <= 1 + 1e-9 for share in shares)


def test_a_share_is_what_of_the_question_is_there() -> None:
    texts = [lemmas(t) for t in ("Цепь смазывают каждые 200 км.", "Тормоза проверяют весной.", "Мы открыты в будни.")]
    index = Bm25(texts)
    (_at, _score, full), *_rest = index.best(lemmas("Как часто смазывать цепь?"), 1)
    (_at, _score, half), *_rest = index.best(lemmas("Какая цепь стоит на велосипеде?"), 1)
    assert index.best(lemmas("Когда обед?"), 1) == []
    assert full > 0.6 > half > 0.2


def test_a_known_word_weighs_as_much_in_a_collection_of_one() -> None:
    alone = Bm25([lemmas("Oil the chain every 200 km.")]).best(lemmas("When does the chain need oil?"), 1)[0][2]
    assert alone > 0.5


def test_common_words_alone_are_no_share() -> None:
    index = Bm25([lemmas("это было то, что есть")])
    assert index.best(lemmas("что это был за паровоз"), 1)[0][2] < 0.1


@pytest.mark.parametrize(
    ("one", "other"),
    [("Пчёлы", "пчелой"), ("Во́лга", "волги"), ("batteries", "battery"), ("Chains", "chain"), ("мёдом", "меда")],
)
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    assert lemmas(one) == lemmas(other) and len(lemmas(one)) == 1


@pytest.mark.parametrize("word", ["bus", "glass", "was", "shoes", "trees"])
def test_only_the_plural_goes(word: str) -> None:
    """ "shoes" and "trees" are no verbs in -e and keep their s in Harman's rules: both forms only meet themselves."""
    assert lemmas(word) == [word]


@given(st.text(max_size=200))
def test_any_text_has_lemmas(text: str) -> None:
    assert all(lemma and not lemma.isspace() for lemma in lemmas(text))
