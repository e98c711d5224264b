"""CUPED from values and from sums, and Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest

from tests.choose.sums import cuped, joint
from tuneloop.choose import adjust, sequential


def arms(seed: int, lift: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    """Values now and before of two arms; half of the variance was there before."""
    rng = np.random.default_rng(seed)
    before = {name: rng.normal(10, 3, n) for name, n in (("a", 700), ("b", 900))}
    return {
        name: (past + rng.normal(2 + (lift if name == "b" else 0), 3, past.size), past) for name, past in before.items()
    }


def test_sums_give_what_values_give() -> None:
    made = arms(1)
    values, removed = cuped(made)  # type: ignore[arg-type]
    sums, removed_too = adjust.cuped({name: joint(now, past) for name, (now, past) in made.items()})
    for name, found in values.items():
        assert sums[name].mean == pytest.approx(found.mean(), rel=1e-9)
        assert sums[name].variance == pytest.approx(found.var(ddof=1), rel=1e-6)
    assert removed == pytest.approx(removed_too, rel=1e-9) == pytest.approx(0.5, abs=0.05)


def test_the_difference_stays_true_and_gets_narrower() -> None:
    plain, adjusted = [], []
    for seed in range(200):
        made = {name: joint(now, past) for name, (now, past) in arms(seed, lift=0.5).items()}
        sums, _removed = adjust.cuped(made)
        plain.append(made["b"].y.mean - made["a"].y.mean)
        adjusted.append(sums["b"].mean - sums["a"].mean)
    assert np.mean(adjusted) == pytest.approx(0.5, abs=0.05)
    assert np.var(adjusted) < 0.65 * np.var(plain)
    interval = sequential.difference(sums["a"], sums["b"])
    without = sequential.difference(made["a"].y, made["b"].y)
    assert interval.high - interval.low < 0.8 * (without.high - without.low)


def test_a_past_that_explains_nothing_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    now = rng.normal(0, 1, 50)
    sums, removed = adjust.cuped({"a": joint(now, np.ones(50)), "b": joint(now + 1, np.ones(50))})
    assert removed == 0.0 and sums["b"].mean == pytest.approx(now.mean() + 1)


def test_holm_is_that_of_statsmodels() -> None:
    """multipletests(..., method="holm") of statsmodels 0.15."""
    found = adjust.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": 0.5})
    assert found == pytest.approx({"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.025, "e": 0.5})
    assert adjust.holm({}) == {}


def test_ten_true_nulls_are_rarely_rejected() -> None:
    rng = np.random.default_rng(3)
    wrong = sum(
        min(adjust.holm({str(i): p for i, p in enumerate(rng.random(10))}).values()) < 0.05 for _ in range(2000)
    )
    assert wrong <= 0.065 * 2000
