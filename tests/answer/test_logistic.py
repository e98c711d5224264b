"""The small logistic model and its calibrations, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.answer.logistic import Calibrator, calibrate, fit, folds, isotonic, platt
from tuneloop.errors import Damaged

RNG = np.random.default_rng(4)
X = RNG.normal(size=(400, 3))
RIGHT = (RNG.random(400) < 1 / (1 + np.exp(-(X @ [1.5, -1.0, 0.0] + 0.4)))).astype(float)
WEIGHTS = RNG.uniform(0.5, 3.0, 400)


def test_the_weights_are_scikit_learn_s() -> None:
    from sklearn.linear_model import LogisticRegression

    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(X, RIGHT, WEIGHTS)
    ours = fit(X, RIGHT, WEIGHTS, ridge=2.0)
    assert ours == pytest.approx([*theirs.coef_[0], theirs.intercept_[0]], abs=1e-4)


def test_separable_labels_and_constant_columns_end() -> None:
    x = np.hstack([np.linspace(-1, 1, 60)[:, None], np.zeros((60, 1))])
    found = fit(x, (x[:, 0] > 0).astype(float), np.ones(60), ridge=1e-6)
    assert np.isfinite(found).all() and found[0] > 10


def test_steps_are_isotonic_regression_drawn_in_from_certainty() -> None:
    from sklearn.isotonic import IsotonicRegression

    values = RNG.random(2000)
    right = (RNG.random(2000) < values**2).astype(float)
    ours = isotonic(values, right, np.ones(2000))
    theirs = IsotonicRegression().fit(values, right)
    at = np.linspace(0.15, 0.85, 50)
    assert [ours.probability(float(v)) for v in at] == pytest.approx(theirs.predict(at), abs=0.08)
    assert list(ours.levels) == sorted(ours.levels)
    assert 0 < ours.probability(-5) < ours.probability(5) < 1


def test_a_line_never_reaches_certainty_and_a_falling_one_says_nothing() -> None:
    values = np.array([0.0] * 20 + [1.0] * 20)
    up = platt(values, values, np.ones(40))
    assert 0.01 < up.probability(0.0) < 0.1
    assert 0.9 < up.probability(1.0) < 0.99
    down = platt(values, 1 - values, np.ones(40))
    assert down.probability(0.0) == down.probability(1.0) == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "steps"), [(999, False), (1000, True)])
def test_the_number_of_labels_decides(n: int, steps: bool) -> None:
    values = RNG.random(n)
    made = calibrate(values, (RNG.random(n) < values).astype(float), np.ones(n))
    assert bool(made.at) is steps
    assert Calibrator.of(made.as_dict()) == made


@pytest.mark.parametrize(
    "written",
    [
        None,
        {},
        {"slope": "1", "shift": 0, "at": [], "levels": []},
        {"slope": float("nan"), "shift": 0, "at": [], "levels": []},
        {"slope": 1, "shift": 0, "at": [0, 1], "levels": [0]},
        {"slope": 1, "shift": 0, "at": [1, 0], "levels": [0, 1]},
        {"slope": True, "shift": 0, "at": [], "levels": []},
    ],
)
def test_what_was_not_written_by_us_is_damaged(written: object) -> None:
    with pytest.raises(Damaged):
        Calibrator.of(written)


@given(st.lists(st.text(max_size=3), min_size=1, max_size=60), st.integers(2, 6))
def test_one_group_is_never_in_two_folds(groups: list[str], n: int) -> None:
    side = folds(groups, n)
    assert len({(group, fold) for group, fold in zip(groups, side, strict=True)}) == len(set(groups))
    assert set(side) <= set(range(n))
