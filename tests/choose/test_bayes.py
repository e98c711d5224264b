"""Readings of two rates: against Evan Miller's closed form and against draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.choose.sums import rate
from tuneloop.choose import bayes


def log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def chance(a: tuple[int, int], b: tuple[int, int]) -> float:
    """P(B > A) of beta posteriors (hits + 1, misses + 1); evanmiller.org, "Formulas for Bayesian A/B Testing"."""
    (x, n), (y, m) = a, b
    left, right, miss_left, miss_right = x + 1, y + 1, n - x + 1, m - y + 1
    return sum(
        math.exp(
            log_beta(left + i, miss_left + miss_right)
            - math.log(miss_right + i)
            - log_beta(1 + i, miss_right)
            - log_beta(left, miss_left)
        )
        for i in range(right)
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [((0, 0), (0, 0)), ((3, 10), (7, 10)), ((100, 1000), (120, 1000)), ((0, 500), (4, 500)), ((9, 9), (5, 40))],
)
def test_the_chance_is_the_closed_form(a: tuple[int, int], b: tuple[int, int]) -> None:
    found = bayes.read(rate(*a), rate(*b))
    assert found.better == pytest.approx(chance(a, b), abs=1e-5)
    assert "not for stopping" in found.method


def test_loss_and_interval_are_those_of_draws() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.beta(41, 61, 400_000), rng.beta(56, 46, 400_000)
    found = bayes.read(rate(40, 100), rate(55, 100))
    assert found.loss == pytest.approx(np.maximum(left - right, 0).mean(), abs=1e-4)
    assert (found.low, found.high) == pytest.approx(np.quantile(right - left, (0.025, 0.975)), abs=2e-3)


def test_a_million_units_are_read_too() -> None:
    found = bayes.read(rate(500_000, 10**6), rate(501_000, 10**6))
    z = 0.001 / math.sqrt(0.5 / 10**6)
    assert found.better == pytest.approx(0.5 * math.erfc(-z / math.sqrt(2)), abs=1e-4)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_reading_is_a_probability_whichever_way_it_is_asked(x: int, n: int, y: int, m: int) -> None:
    a, b = rate(min(x, n), n), rate(min(y, m), m)
    found, back = bayes.read(a, b), bayes.read(b, a)
    assert 0 <= found.better <= 1 and found.better + back.better == pytest.approx(1, abs=1e-5)
    assert found.loss >= -1e-9 and -1 <= found.low <= found.high <= 1
    assert found.loss - back.loss == pytest.approx((a.total + 1) / (n + 2) - (b.total + 1) / (m + 2), abs=1e-6)
