"""Tests for a sample size that was fixed before the first look; looked at again and again they find what is not there.

Two-proportion z, Fisher's exact test, Newcombe's interval (1998, method 10), Welch's t, a bootstrap for quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tuneloop.choose.sequential import Interval, Sums
from tuneloop.stats import wilson


def rate_difference(a: Sums, b: Sums, alpha: float = 0.05) -> Interval:
    """Rate of b minus rate of a: z test with pooled variance for p (Fisher's below 10 expected), Newcombe interval."""
    if not a.n or not b.n:
        return Interval(0.0, -1.0, 1.0, alpha, "Newcombe")
    pooled = (a.total + b.total) / (a.n + b.n)
    fewest = min(a.n, b.n) * min(pooled, 1 - pooled)
    if fewest < 10:
        p, method = fisher(a, b), "Fisher's exact test, Newcombe interval"
    else:
        z = (b.mean - a.mean) / math.sqrt(pooled * (1 - pooled) * (1 / a.n + 1 / b.n))
        p, method = math.erfc(abs(z) / math.sqrt(2)), "two-proportion z test, Newcombe interval"
    low, high = newcombe(a, b, alpha)
    return Interval(b.mean - a.mean, low, high, alpha, method, p)


def newcombe(a: Sums, b: Sums, alpha: float = 0.05) -> tuple[float, float]:
    """Interval for b - a from the Wilson intervals of both rates; never beyond [-1, 1]."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    low_a, high_a = wilson(round(a.total), a.n, z)
    low_b, high_b = wilson(round(b.total), b.n, z)
    gap = b.mean - a.mean
    return (
        gap - math.hypot(b.mean - low_b, high_a - a.mean),
        gap + math.hypot(high_b - b.mean, a.mean - low_a),
    )


def fisher(a: Sums, b: Sums) -> float:
    """Two-sided p value of the 2 x 2 table."""
    from scipy.stats import fisher_exact

    hits_a, hits_b = round(a.total), round(b.total)
    return float(fisher_exact([[hits_a, a.n - hits_a], [hits_b, b.n - hits_b]]).pvalue)


def mean_difference(a: Sums, b: Sums, alpha: float = 0.05) -> Interval:
    """Mean of b minus mean of a: Welch's unequal-variances t."""
    from scipy.stats import t

    spread_a, spread_b = (arm.variance / arm.n if arm.n > 1 else math.inf for arm in (a, b))
    spread = spread_a + spread_b
    gap = b.mean - a.mean
    if not math.isfinite(spread) or spread == 0:
        return Interval(gap, -math.inf, math.inf, alpha, "Welch's t test")
    degrees = spread**2 / (spread_a**2 / (a.n - 1) + spread_b**2 / (b.n - 1))
    width = float(t.ppf(1 - alpha / 2, degrees)) * math.sqrt(spread)
    p = float(2 * t.sf(abs(gap) / math.sqrt(spread), degrees))
    return Interval(gap, gap - width, gap + width, alpha, "Welch's t test", p)


def quantile_difference(
    a: Sequence[float], b: Sequence[float], q: float, alpha: float = 0.05, *, rounds: int = 4000, seed: int = 0
) -> Interval:
    """Quantile q of b minus that of a, percentile bootstrap; values one of each unit, in any order."""
    method = f"bootstrap of the {q:.0%} quantile"
    if len(a) < 2 or len(b) < 2:
        return Interval(0.0, -math.inf, math.inf, alpha, method)
    rng = np.random.default_rng(seed)
    gaps = _resampled(b, q, rounds, rng) - _resampled(a, q, rounds, rng)
    low, high = np.quantile(gaps, (alpha / 2, 1 - alpha / 2))
    gap = float(np.quantile(b, q) - np.quantile(a, q))
    rarer = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    return Interval(gap, float(low), float(high), alpha, method, min(1.0, 2 * (rarer + 1) / (rounds + 1)))


def _resampled(values: Sequence[float], q: float, rounds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Quantile q of that many resamples, without drawing them, so that a million values are as fast as ten.

    The rank of the k-th smallest of n draws with replacement is n times a beta(k, n - k + 1) variable, rounded up.
    """
    ordered: NDArray[np.float64] = np.sort(np.asarray(values, np.float64))
    n = ordered.size
    k = min(n, max(1, math.ceil(q * n)))
    ranks = np.floor(rng.beta(k, n - k + 1, rounds) * n).astype(int)
    found: NDArray[np.float64] = np.take(ordered, np.minimum(n - 1, ranks))
    return found


def sample_size(rate: float, lift: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Units per arm to find `rate + lift` beside `rate` with a two-sided z test looked at once."""
    other = rate + lift
    return _units(lift, rate * (1 - rate) + other * (1 - other), alpha, power)


def sample_size_of_mean(lift: float, deviation: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Units per arm to find means that differ by `lift` when units scatter by `deviation`, looked at once."""
    return _units(lift, 2 * deviation**2, alpha, power)


def _units(lift: float, variance: float, alpha: float, power: float) -> int:
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    return math.ceil(z**2 * variance / lift**2)
