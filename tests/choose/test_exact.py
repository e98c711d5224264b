"""Sequences that hold from the first unit on: against published figures, integrals, and every look of simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from tests.choose.sums import of, rate
from tuneloop.choose import exact, sequential
from tuneloop.choose.sequential import Sums


def test_the_gamma_exponential_boundary_is_the_published_one() -> None:
    """Vector of confseq's own tests: scale 2, tuned at 100, alpha 0.05, v = 100; ours has scale 1."""
    rho = 1 / sequential.mixture_rho(0.1, 100) / 2**2
    assert 2 * exact.gamma_exponential_bound(100 / 2**2, 0.05, rho) == pytest.approx(33.02017, abs=1e-5)


def test_a_rate_is_excluded_where_its_mixture_says_so() -> None:
    low, high = exact.rate_bounds(rate(12, 40), 0.05)
    mixture, _error = integrate.quad(lambda p: stats.beta.pdf(p, 0.5, 0.5) * p**12 * (1 - p) ** 28, 0, 1)
    for edge in (low, high):
        assert mixture / (edge**12 * (1 - edge) ** 28) == pytest.approx(1 / 0.05, rel=1e-6)
    assert exact.rate_bounds(Sums(0, 0, 0), 0.05) == (0.0, 1.0)
    assert exact.rate_bounds(rate(0, 30), 0.05)[0] == 0.0 and exact.rate_bounds(rate(30, 30), 0.05)[1] == 1.0


@pytest.mark.parametrize("runs", [200, pytest.param(2000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("p", [0.01, 0.3])
def test_rates_are_covered_from_the_first_unit_on(p: float, runs: int) -> None:
    rng = np.random.default_rng(1)
    bounds: dict[tuple[int, int], tuple[float, float]] = {}
    missed = 0
    for _run in range(runs):
        hits = np.cumsum(rng.random(150) < p)
        for n in range(1, 151):
            key = (n, int(hits[n - 1]))
            low, high = bounds.setdefault(key, exact.rate_bounds(rate(key[1], n), 0.05))
            if not low <= p <= high:
                missed += 1
                break
    assert missed <= 0.05 * runs


VALUES = {
    "scores": lambda rng: rng.beta(0.4, 0.6, 200),
    "good scores": lambda rng: rng.beta(14, 6, 200),
    "nearly always 1": lambda rng: (rng.random(200) < 0.97).astype(float),
}
MEANS = {"scores": 0.4, "good scores": 0.7, "nearly always 1": 0.97}


@pytest.mark.parametrize("runs", [40, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", VALUES)
def test_bounded_values_are_covered_from_the_first_unit_on(name: str, runs: int) -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _run in range(runs):
        x = VALUES[name](rng)
        found = (exact.bernstein_bounds(of(x[:n]), 0.05) for n in range(1, 200, 4))
        missed += any(not low <= MEANS[name] <= high for low, high in found)
    assert missed <= 0.05 * runs


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_errors_of_prediction_never_exceed_what_sums_allow(values: list[float]) -> None:
    """In any order, the worst included: hypothesis looks for it."""
    x = np.array(values)
    predicted = (np.concatenate([[0.0], np.cumsum(x)[:-1]]) + 0.5) / np.arange(1, x.size + 1)
    assert float(((x - predicted) ** 2).sum()) <= exact.squared_errors(of(x), 0.0, 1.0) + 1e-9


def test_twenty_scores_already_say_something() -> None:
    rng = np.random.default_rng(3)
    low, high = exact.bernstein_bounds(of(rng.beta(14, 6, 20)), 0.05)
    assert 0.3 < low < 0.7 < high <= 1.0
    narrow, wide = exact.bernstein_bounds(of(rng.beta(14, 6, 200)), 0.05), exact.rate_bounds(rate(140, 200), 0.05)
    assert narrow[1] - narrow[0] < 0.75 * (wide[1] - wide[0])  # they scatter less than votes


def test_another_scale_is_the_same_thing() -> None:
    x = np.random.default_rng(4).beta(2, 2, 80)
    plain, scaled = exact.bernstein_bounds(of(x), 0.05), exact.bernstein_bounds(of(1 + 4 * x), 0.05, low=1.0, high=5.0)
    assert scaled == pytest.approx([1 + 4 * bound for bound in plain])


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_differences_and_p_values_say_the_same(n: int, m: int, p: float, q: float, as_rate: bool) -> None:
    a, b = rate(round(p * n), n), rate(round(q * m), m)
    found = exact.bounded_difference(a, b, rate=as_rate)
    assert -1 - 1e-9 <= found.low <= found.estimate + 1e-9 and found.estimate - 1e-9 <= found.high <= 1 + 1e-9
    assert (found.p < 0.05) == found.excludes_zero or found.p == pytest.approx(0.05, rel=0.02)


def test_an_exact_difference_is_wider_than_an_asymptotic_one_by_about_a_third() -> None:
    a, b = rate(50, 100), rate(60, 100)
    found, other = exact.bounded_difference(a, b, rate=True), sequential.difference(a, b, rate=True)
    assert 1.1 < (found.high - found.low) / (other.high - other.low) < 1.45


# --- quantiles


def test_ranks_are_where_the_mixture_says_so() -> None:
    n, q, alpha = 2000, 0.9, 0.05
    low, high = exact.quantile_bounds(list(range(1, n + 1)), q, alpha)  # value = rank
    first, second = exact.PRIOR * q, exact.PRIOR * (1 - q)

    def evidence(below: float) -> float:
        mixture = stats.betabinom.logpmf(below, n, first, second)
        return float(mixture - stats.binom.logpmf(below, n, q))

    edge = -math.log(alpha)
    assert evidence(low) < edge <= evidence(low - 1)
    assert evidence(high - 1) < edge <= evidence(high)


@pytest.mark.parametrize("runs", [150, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("coarse", [False, True], ids=["continuous", "rounded to whole seconds"])
def test_quantiles_are_covered_at_every_look(runs: int, coarse: bool) -> None:
    rng = np.random.default_rng(5)
    truth = -math.log(0.1)  # the 90 % quantile of an exponential
    missed = 0
    for _run in range(runs):
        x = rng.exponential(1, 600)
        if coarse:
            x, truth = np.ceil(x), 3.0
        missed += any(not low <= truth <= high for low, high in (ranked(x[:n]) for n in range(5, 600, 15)))
    assert missed <= 0.05 * runs


def ranked(values: NDArray[np.float64]) -> tuple[float, float]:
    return exact.quantile_bounds(np.sort(values).tolist(), 0.9, 0.05)


def test_a_slower_tail_is_found_and_an_equal_one_is_not() -> None:
    rng = np.random.default_rng(6)
    fast, slow = rng.exponential(1, 3000), rng.exponential(1.5, 3000)
    found = exact.quantile_difference(fast.tolist(), slow.tolist(), 0.95)
    assert found.low > 0 and found.p < 0.05
    assert found.estimate == pytest.approx(np.quantile(slow, 0.95) - np.quantile(fast, 0.95))
    same = exact.quantile_difference(fast.tolist(), rng.exponential(1, 3000).tolist(), 0.95)
    assert same.low < 0 < same.high and same.p > 0.05
    none = exact.quantile_difference([], [1.0], 0.95)
    assert (none.low, none.high, none.p) == (-math.inf, math.inf, 1.0)
    few = exact.quantile_difference([1.0, 2.0], [3.0, 4.0], 0.95)
    assert not few.excludes_zero
