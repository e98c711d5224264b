"""Likeness by letters: what it says of messages, and that the ranker is better for it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from tests.collect.talk import said
from tuneloop.collect import columns, likeness, links
from tuneloop.collect.likeness import REACH
from tuneloop.records import Message

TEXTS = ["настроил jmeter и графану", "а в jmeter-е как?", "", "пошли обедать", "графана не рисует", "обед был хорош"]


def test_shared_pieces_make_messages_alike() -> None:
    found = likeness.band(TEXTS)
    assert found.shape == (6, REACH)
    assert found[4, 3] > 0.2  # графана, графану
    assert found[1, 0] > 0.05  # jmeter, jmeter-е
    assert found[5, 1] > 0.05  # обед, обедать
    assert (found[4, :3] < 0.05).all() and (found[2] == 0).all()


def test_same_cosines_as_a_vectoriser_with_a_vocabulary() -> None:
    chance = random.Random(0)
    texts = [" ".join(chance.choices(["насос", "клапаны", "ротор", "датчик", "кабели"], k=4)) for _n in range(700)]
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(texts)
    cosines = (vectors @ vectors.T).toarray()
    found = likeness.band(texts)
    for at in (0, 1, 49, 50, 499, 500, 501, 699):  # around the pieces that are multiplied at once
        expected = np.zeros(REACH)
        before = cosines[at, max(0, at - REACH) : at][::-1]
        expected[: len(before)] = before
        np.testing.assert_allclose(found[at], expected, atol=2e-3)


@given(st.lists(st.sampled_from(["", "?", "👍👍", "\ud83d", "a\nb", "Как быть", "x" * 5000]), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_texts_give_cosines(texts: list[str]) -> None:
    found = likeness.band(texts)
    assert found.shape == (len(texts), REACH)
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1.001).all()
    assert (np.tril(np.ones((len(texts), REACH)), -1)[found > 0] == 1).all()  # nothing before the first message


def test_between_takes_positions_in_any_order() -> None:
    table = columns.read([said(n, "ann", text) for n, text in enumerate(TEXTS)])
    messages = [said(n, "ann", text) for n, text in enumerate(TEXTS)]
    compared = likeness.compared(table, reversed(messages))
    np.testing.assert_array_equal(compared.alike, likeness.band(TEXTS))
    one, two = np.array([0, 4, 3, -1, 9, 5]), np.array([4, 0, 3, 2, 1, 5])
    found = likeness.between(compared, one, two)
    assert found[0] == found[1] == compared.alike[4, 3] > 0
    assert (found[2:] == 0).all()
    assert (likeness.between(table, one, two) == 0).all()  # not compared


def test_a_message_that_is_gone_is_like_no_other() -> None:
    messages = [said(n, "ann", "один и тот же текст") for n in range(4)]
    found = likeness.compared(columns.read(messages), messages[:3]).alike
    assert found[2, 0] > 0.99 and (found[3] == 0).all()


def declined_group(count: int) -> list[Message]:
    """Questions of nine people and answers a few messages later that repeat their made-up words with other letters
    around: the same five first letters never return, so only pieces of words tell which question is answered."""
    chance = random.Random(1)
    made: list[Message] = []
    open_questions: list[tuple[int, str]] = []
    for number in range(1, count + 1):
        if len(open_questions) < 5:
            word = "".join(chance.choices("бвгджзклмнпрст", k=8))
            open_questions.append((number, word))
            made.append(said(number, f"user{chance.randrange(9)}", f"при{word}"))
        else:
            parent, word = open_questions.pop(chance.randrange(len(open_questions)))
            made.append(said(number, f"user{chance.randrange(9)}", f"недо{word}", reply_to=parent))
    return made


def test_the_ranker_finds_what_only_letters_tell() -> None:
    messages = declined_group(900)
    blind = columns.read(messages)
    without, found = (links.guess(table, 0.85) for table in (blind, likeness.compared(blind, messages)))
    assert without is not None and found is not None
    assert found.figures["f"] >= 0.9 > without.figures["f"] + 0.2


def test_hidden_links_change_nothing_but_their_own_truth() -> None:
    """Likeness knows texts only: it is the same whatever the links are."""
    messages = declined_group(60)
    table = columns.read(messages)
    other = replace(table, parent=np.full(len(table), -1, np.int32))
    np.testing.assert_array_equal(likeness.compared(table, messages).alike, likeness.compared(other, messages).alike)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int) -> None:
    assert likeness.band(["слово"] * count).shape == (count, REACH)
    assert not likeness.band(["слово"] * count).any()
