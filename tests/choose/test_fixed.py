"""Tests looked at once: against scipy, and against figures of statsmodels 0.15 and of the literature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tests.choose.sums import of, rate
from tuneloop.choose import fixed
from tuneloop.choose.sequential import Sums


def test_z_welch_and_fisher_agree_with_scipy() -> None:
    a, b = rate(120, 1000), rate(155, 1000)
    table = stats.chi2_contingency([[120, 880], [155, 845]], correction=False)
    assert fixed.rate_difference(a, b).p == pytest.approx(table.pvalue, rel=1e-9)
    rng = np.random.default_rng(3)
    x, y = rng.normal(5, 2, 80), rng.normal(5.6, 3, 120)
    theirs = stats.ttest_ind(y, x, equal_var=False)
    ours = fixed.mean_difference(of(x), of(y))
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert fixed.fisher(rate(3, 12), rate(9, 14)) == pytest.approx(stats.fisher_exact([[3, 9], [9, 5]]).pvalue)


def test_few_hits_are_fishers() -> None:
    found = fixed.rate_difference(rate(3, 200), rate(9, 200))
    assert found.p == pytest.approx(stats.fisher_exact([[3, 197], [9, 191]]).pvalue) and "Fisher" in found.method
    assert "two-proportion z" in fixed.rate_difference(rate(30, 200), rate(90, 200)).method


def test_newcombe_gives_the_published_interval() -> None:
    """Newcombe 1998, Statistics in Medicine 17:873, table II, method 10: 56/70 - 48/80; statsmodels: 155 and 120."""
    assert fixed.newcombe(rate(48, 80), rate(56, 70)) == pytest.approx((0.0524, 0.3339), abs=5e-4)
    theirs = (0.004793523196562156, 0.06522631310950379)
    assert fixed.newcombe(rate(120, 1000), rate(155, 1000)) == pytest.approx(theirs, rel=1e-6)
    assert fixed.newcombe(rate(0, 10), rate(10, 10))[1] == pytest.approx(1.0)


def test_nothing_counted_says_nothing() -> None:
    assert (fixed.rate_difference(rate(0, 0), rate(1, 2)).low, fixed.mean_difference(rate(0, 1), rate(1, 2)).low) == (
        -1.0,
        -math.inf,
    )
    assert fixed.mean_difference(Sums(50, 50.0, 50.0), Sums(50, 100.0, 200.0)).p == 1.0  # nothing varies
    assert fixed.quantile_difference([1.0], [2.0, 3.0], 0.5).high == math.inf


def test_sample_sizes_are_those_of_the_tables() -> None:
    assert fixed.sample_size(0.10, 0.03, power=0.8) == pytest.approx(1771, abs=5)
    assert fixed.sample_size_of_mean(0.2, 1.0, power=0.8) == 393  # statsmodels, NormalIndPower: 392.44


def test_the_sample_size_has_its_power() -> None:
    n = fixed.sample_size(0.10, 0.03, power=0.8)
    rng = np.random.default_rng(1)
    pairs = zip(rng.binomial(n, 0.10, 2000), rng.binomial(n, 0.13, 2000), strict=True)
    assert 0.77 <= np.mean([fixed.rate_difference(rate(x, n), rate(y, n)).p < 0.05 for x, y in pairs]) <= 0.83


def test_the_bootstrap_of_a_quantile_is_that_of_drawn_resamples() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.exponential(1, 300), rng.exponential(2, 200)

    def drawn(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        picks = values[rng.integers(0, values.size, (4000, values.size))]
        return np.sort(picks, axis=1)[:, math.ceil(0.9 * values.size) - 1]  # type: ignore[no-any-return]

    gaps = drawn(y) - drawn(x)
    found = fixed.quantile_difference(x.tolist(), y.tolist(), 0.9, rounds=20_000)
    assert (found.low, found.high) == pytest.approx(np.quantile(gaps, (0.025, 0.975)), rel=0.06)


def test_quantiles_by_bootstrap_find_a_slower_tail_and_rarely_one_that_is_not_there() -> None:
    rng = np.random.default_rng(3)
    fast, slow = rng.exponential(1, 800), rng.exponential(2, 800)
    found = fixed.quantile_difference(fast.tolist(), slow.tolist(), 0.95)
    assert found.low > 0 and found.p < 0.01
    wrong = [
        fixed.quantile_difference(rng.exponential(1, 400).tolist(), rng.exponential(1, 400).tolist(), 0.9).p < 0.05
        for _run in range(300)
    ]
    assert np.mean(wrong) <= 0.08
