"""The ranker learns from a chat's own links, never sees the hidden ones, and its figures are what they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.collect.talk import busy_group, said
from tuneloop.collect import beliefs, columns, features, likeness, links
from tuneloop.collect.columns import Columns
from tuneloop.collect.links import Guesses

WANTED = 0.85


@pytest.fixture(scope="module")
def group() -> tuple[Columns, dict[int, int]]:
    messages, parents = busy_group(1500)
    return likeness.compared(columns.read(messages), messages), parents


@pytest.fixture(scope="module")
def guesses(group: tuple[Columns, dict[int, int]]) -> Guesses:
    found = links.guess(group[0], WANTED)
    assert found is not None
    return found


def test_beats_both_baselines_and_keeps_the_precision_asked_for(guesses: Guesses) -> None:
    figures = guesses.figures
    assert figures["f"] >= 0.7
    assert figures["f"] > figures["previous_f"] + 0.2
    assert figures["f"] > figures["gap_f"] + 0.2
    low, high = figures["precision_interval"]
    assert low <= figures["precision_at_threshold"] <= high
    assert high >= WANTED


def test_figures_count_the_hidden_links(group: tuple[Columns, dict[int, int]], guesses: Guesses) -> None:
    table, _parents = group
    tested, figures = guesses.tested, guesses.figures
    assert len(tested.rows) == figures["hidden"] == round((table.parent >= 0).sum() * links.HIDDEN)
    assert figures["trained_on"] + figures["hidden"] == (table.parent >= 0).sum()
    right = tested.parent == table.parent[tested.rows]
    assert figures["always_guessing"] == pytest.approx(right.mean())
    used = tested.chance >= guesses.threshold
    assert figures["precision_at_threshold"] == pytest.approx(right[used].mean())
    assert figures["recall_at_threshold"] == pytest.approx((right & used).mean())
    assert figures["f"] == pytest.approx(
        2 * figures["precision"] * figures["recall"] / (figures["precision"] + figures["recall"])
    )


def test_guesses_for_unlinked_messages_are_as_good(group: tuple[Columns, dict[int, int]], guesses: Guesses) -> None:
    table, parents = group
    used = guesses.chance >= guesses.threshold
    rows, at = guesses.rows[used], guesses.parent[used]
    assert (table.parent[rows] < 0).all()
    assert (at < rows).all()
    truth = [parents.get(int(n)) for n in table.ids[rows]]
    assert np.mean([t == p for t, p in zip(truth, table.ids[at].tolist(), strict=True)]) >= WANTED


def test_hidden_links_are_never_used(group: tuple[Columns, dict[int, int]], guesses: Guesses) -> None:
    """Lead every hidden link somewhere else: the answers about them stay what they were."""
    table, _parents = group
    changed = table.parent.copy()
    changed[guesses.tested.rows] = np.maximum(guesses.tested.rows - 7, 0)
    again = links.guess(dataclasses.replace(table, parent=changed), WANTED)
    assert again is not None
    np.testing.assert_array_equal(again.tested.rows, guesses.tested.rows)
    np.testing.assert_array_equal(again.tested.parent, guesses.tested.parent)
    np.testing.assert_array_equal(again.tested.chance, guesses.tested.chance)
    assert again.threshold == guesses.threshold


def test_the_same_messages_give_the_same_guesses(group: tuple[Columns, dict[int, int]], guesses: Guesses) -> None:
    again = links.guess(group[0], WANTED)
    assert again is not None
    np.testing.assert_array_equal(again.chance, guesses.chance)
    assert again.figures == guesses.figures


def test_too_few_links_train_nothing() -> None:
    messages, _parents = busy_group(300, linked=0.5)
    table = columns.read(messages)
    assert 0 < (table.parent >= 0).sum() < links.FEWEST_LINKS
    assert links.guess(table, WANTED) is None


def test_a_precision_out_of_reach_uses_no_guess() -> None:
    messages, _parents = busy_group(700, seed=3)
    # Texts and senders that tell nothing: the parent cannot be known.
    blank = [said(m.id, f"user{m.id % 9}", "слово", time=m.time, reply_to=m.reply_to) for m in messages]
    found = links.guess(columns.read(blank), 0.999)
    assert found is not None
    assert not (found.chance >= found.threshold).any()
    assert found.figures["threshold"] is None


def test_beliefs_sum_to_at_most_one() -> None:
    scores = np.random.default_rng(0).normal(0, 4, (50, features.WINDOW)).astype(np.float32)
    sums = beliefs.normalised(scores).sum(axis=1)
    assert (sums <= 1 + 1e-5).all()
    assert beliefs.normalised(np.full((1, features.WINDOW), -9, np.float32)).sum() < 0.01
