from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.collect.words import LISTS, STOP, lemma, lemmas, tokens


@pytest.mark.parametrize(
    ("word", "base"),
    [("катушки", "катушка"), ("скрипела", "скрипеть"), ("ёлками", "елка"), ("jmeter", "jmeter"), ("docker", "docker")],
)
def test_lemma(word: str, base: str) -> None:
    assert lemma(word) == base


def test_content_words_of_a_sentence() -> None:
    assert lemmas("А почему у [name] каретка скрипит? https://example.org/karetka") == {"каретка", "скрипеть"}
    assert lemmas("Why is the Chain so loud?") == {"chain", "loud"}
    assert lemmas("ну да, а что") == set()


@given(st.text(max_size=200))
def test_tokens_are_lower_case_words(text: str) -> None:
    for token in tokens(text):
        assert token
        assert not any(c.isspace() or c.isdecimal() for c in token)


def test_lists_are_there_and_apart() -> None:
    assert {"stop_ru", "stop_en", "particles", "filler", "hanging", "yes_no"} <= set(LISTS)
    assert all(LISTS.values())
    assert not LISTS["particles"] & LISTS["stop_ru"]
    assert {"и", "the", "короче"} <= STOP


def test_a_long_line_takes_linear_time() -> None:
    start = time.process_time()
    tokens("a-" * 200_000 + "[" * 100_000 + "http://" * 20_000)
    assert time.process_time() - start < 2
