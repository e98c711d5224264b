"""The statistics against published values, exact enumeration and simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.stats import clicks_needed, paired_bootstrap, sign_test, wilson


@pytest.mark.parametrize(
    ("good", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_newcombes_table(good: int, n: int, low: float, high: float) -> None:
    assert wilson(good, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_holds_the_share_and_mirrors(good: int, bad: int) -> None:
    n = good + bad
    low, high = wilson(good, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low - 1e-12 <= good / n <= high + 1e-12
        assert wilson(bad, n) == (pytest.approx(1 - high), pytest.approx(1 - low))
    else:
        assert (low, high) == (0, 1)


def test_sign_test_is_what_counting_says() -> None:
    for n in range(1, 9):
        flips = [sum(coins) for coins in product((0, 1), repeat=n)]
        for better in range(n + 1):
            share = sum(heads >= better for heads in flips) / len(flips)
            assert sign_test(better, n - better) == pytest.approx(share)
    assert sign_test(0, 0) == 1.0


def mean_difference(sums: np.ndarray) -> np.ndarray:
    return (sums[:, 0] - sums[:, 1]) / sums[:, 2]


def test_bootstrap_is_certain_of_a_constant_difference() -> None:
    groups = [[(k + 0.5, k)] * 3 for k in range(10)]
    assert paired_bootstrap(groups, mean_difference) == pytest.approx((0.5, 0.5, 0.5))


def test_bootstrap_is_reproducible_and_depends_on_its_seed() -> None:
    rng = np.random.default_rng(0)
    groups = [[(float(a), float(b)) for a, b in rng.normal(size=(3, 2))] for _n in range(20)]
    assert paired_bootstrap(groups, mean_difference, seed=1) == paired_bootstrap(groups, mean_difference, seed=1)
    assert paired_bootstrap(groups, mean_difference, seed=1) != paired_bootstrap(groups, mean_difference, seed=2)


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        pairs = rng.normal(loc=(0.3, 0.0), size=(60, 2))
        _estimate, low, high = paired_bootstrap(
            [[(float(a), float(b))] for a, b in pairs], mean_difference, resamples=400, seed=trial
        )
        covered += low <= 0.3 <= high
    # 95 % of 200, give or take three standard deviations of a fair count
    assert covered / 200 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)


def test_groups_that_hang_together_widen_the_interval() -> None:
    """Ten copies of a pair in one dialogue are one observation, not ten."""
    rng = np.random.default_rng(3)
    pairs = [(float(a), float(b)) for a, b in rng.normal(size=(30, 2))]
    _e, low, high = paired_bootstrap([[p] * 10 for p in pairs], mean_difference)
    _e, naive_low, naive_high = paired_bootstrap([[p] for p in pairs for _n in range(10)], mean_difference)
    assert high - low > 2 * (naive_high - naive_low)


def test_clicks_needed_is_how_many_more_until_it_would_be_certain() -> None:
    def certain(wins: int, n: int) -> bool:
        return sign_test(wins, n - wins) <= 0.025

    assert clicks_needed(16, 20, certain) == 0
    more = clicks_needed(12, 20, certain)
    # 60 % of n is beyond 1 in 40 from 100 decided comparisons on, give or take the jumps of whole numbers
    assert more is not None and 60 <= more <= 100
    assert clicks_needed(10, 20, certain) is None and clicks_needed(0, 0, certain) is None
    assert clicks_needed(501, 1000, certain, most=2000) is None
