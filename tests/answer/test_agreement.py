"""Agreement of scores with people: AUC, its interval, calibration error, and the bar for acting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.answer.agreement import BAR, agreement, auc, auc_interval, ece


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=80))
def test_auc_is_scikit_learn_s(pairs: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import roc_auc_score

    values, right = [p[0] for p in pairs], [p[1] for p in pairs]
    if len(set(right)) == 2:
        assert auc(values, right) == pytest.approx(roc_auc_score(right, values))


def test_the_interval_covers_the_truth_in_nineteen_of_twenty() -> None:
    """Two normal scores a standard deviation apart: the true AUC is 0.7602."""
    rng = np.random.default_rng(7)
    inside = 0
    for _run in range(400):
        values = np.concatenate([rng.normal(1, 1, 40), rng.normal(0, 1, 25)])
        found = auc(values, [True] * 40 + [False] * 25)
        low, high = auc_interval(found, 40, 25)
        inside += low <= 0.7602 <= high
    assert 0.92 <= inside / 400 <= 0.99


@pytest.mark.parametrize("area", [0.0, 0.5, 1.0])
def test_the_ends_have_intervals_too(area: float) -> None:
    low, high = auc_interval(area, 30, 20)
    assert 0 <= low <= area <= high <= 1
    assert high - low > 0.05


def test_few_clicks_are_no_figure_and_a_coin_may_not_act() -> None:
    rng = np.random.default_rng(1)
    few = agreement([0.1] * 29, [True] * 15 + [False] * 14)
    assert few.auc is None and not few.may_act and "29 clicks" in few.says
    one_sided = agreement([0.1] * 60, [True] * 56 + [False] * 4)
    assert one_sided.auc is None and "5 of each kind" in one_sided.says
    coin = agreement(list(rng.random(200)), [bool(n % 2) for n in range(200)])
    assert coin.auc is not None and not coin.may_act
    good = agreement([n % 2 + rng.normal(0, 0.6) for n in range(200)], [bool(n % 2) for n in range(200)])
    assert good.low is not None and good.low > BAR and good.may_act
    assert "200 clicks" in good.says and good.as_dict()["may_act"]


def test_calibration_error_is_near_nothing_for_true_probabilities() -> None:
    rng = np.random.default_rng(5)
    p = rng.random(5000)
    right = list(rng.random(5000) < p)
    assert ece(list(p), right) < 0.03
    assert ece(list(p**3), right) > 0.15
    assert ece([0.7], [True]) == pytest.approx(0.3)
