from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.collect import made
from tuneloop.collect import audit, dataset
from tuneloop.collect.dataset import Dataset
from tuneloop.stats import wilson
from tuneloop.workspace import Workspace


@pytest.fixture
def small(workspace: Workspace) -> Dataset:
    return dataset.load(build(workspace))


def build(workspace: Workspace) -> Path:
    found = made.examples(40)
    bad = found[7]
    found[7] = made.example(7, answer=bad.answer + ", потому что")
    return dataset.assemble(workspace, made.built(found), made.CHAT, made.activity(found), made.ROSTER, name="small")


def test_sample_is_fixed_by_the_dataset(small: Dataset) -> None:
    assert audit.sample(small, 10) == audit.sample(small, 30)[:10]
    assert len(audit.sample(small, 999)) == 40
    assert len({e.id for e in audit.sample(small, 40)}) == 40
    times = [e.time for e in audit.sample(small, 40)]
    assert times != sorted(times)


def test_clicks_are_kept_replaced_and_taken_back(workspace: Workspace, small: Dataset) -> None:
    first, second, third = audit.sample(small, 3)
    audit.judge(workspace, small, first, "yes", "мира")
    audit.judge(workspace, small, second, "no", "мира")
    audit.judge(workspace, small, third, "skip", "мира")
    assert audit.judged(workspace, small) == [
        (first.id, "мира", "yes"),
        (second.id, "мира", "no"),
        (third.id, "мира", "skip"),
    ]
    now = audit.standing(workspace, small)
    assert (now.precision.good, now.precision.n, now.skipped) == (1, 2, 1)
    audit.judge(workspace, small, second, "yes", "мира")
    assert audit.standing(workspace, small).precision.good == 2
    audit.undo(workspace, small, second, "мира")
    assert audit.standing(workspace, small).precision.n == 1


def test_nothing_judged_knows_nothing(workspace: Workspace, small: Dataset) -> None:
    now = audit.standing(workspace, small)
    assert now.precision.rate is None
    assert (now.precision.low, now.precision.high) == (0.0, 1.0)
    assert now.kappa is None


def test_precision_by_rule(workspace: Workspace, small: Dataset) -> None:
    (bad,) = small.failed
    for example in audit.sample(small, 40):
        audit.judge(workspace, small, example, "no" if example.id == bad else "yes", "me")
    now = audit.standing(workspace, small)
    assert (now.passing.good, now.passing.n) == (39, 39)
    assert (now.failing.good, now.failing.n) == (0, 1)
    assert now.precision.low == now.precision.high == 39 / 40, "everything was judged: no doubt is left"


def test_two_raters(workspace: Workspace, small: Dataset) -> None:
    chosen = audit.sample(small, 4)
    for example, one, other in zip(chosen, ("yes", "yes", "no", "no"), ("yes", "no", "no", "no"), strict=True):
        audit.judge(workspace, small, example, one, "a")
        audit.judge(workspace, small, example, other, "b")
    now = audit.standing(workspace, small)
    assert now.both_judged == 4
    assert now.kappa == pytest.approx(0.5)  # agreed 3/4, by chance 1/2
    assert (now.precision.good, now.precision.n) == (1, 4), "an example they disagree on counts as no"


def test_another_dataset_sees_none_of_it(workspace: Workspace, small: Dataset) -> None:
    audit.judge(workspace, small, audit.sample(small, 1)[0], "yes", "me")
    found = made.examples(50)
    folder = dataset.assemble(workspace, made.built(found), made.CHAT, made.activity(found), made.ROSTER, name="other")
    assert audit.judged(workspace, dataset.load(folder)) == []


@given(st.integers(1, 400), st.data())
def test_interval_is_sound(population: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, population))
    good = data.draw(st.integers(0, n))
    share = audit.share([True] * good + [False] * (n - good), population)
    assert 0 <= share.low <= share.high <= 1
    assert share.low - 1e-9 <= good / n <= share.high + 1e-9
    low, high = wilson(good, n)
    assert share.high - share.low <= high - low + 1e-9, "a finite population never makes it wider"


def test_a_large_population_gives_the_textbook_interval() -> None:
    share = audit.share([True] * 93 + [False] * 7, 10**9)
    assert (share.low, share.high) == pytest.approx(wilson(93, 100), abs=1e-6)
