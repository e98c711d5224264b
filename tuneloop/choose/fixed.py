"""Tests for a sample size that was fixed before the first look; looked at again and again they find what is not there.

Two-proportion z, Fisher's exact test, Newcombe's interval (1998, method 10), Welch's t, a bootstrap for quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneloop.choose.sequential import Interval, Sums
from tuneloop.stats import wilson


def rate_difference(a: Sums, b: Sums, alpha: float = 0.05) -> Interval:
    """Rate of b minus rate of a: z test with pooled variance for p (Fisher's below 10 expected), Newcombe interval."""
    from scipy.stats import norm

    if not a.n or not b.n:
        return Interval(0.0, -1.0, 1.0, alpha, "Newcombe")
    pooled = (a.total + b.total) / (a.n + b.n)
    fewest = min(a.n, b.n) * min(pooled, 1 - pooled)
    if fewest < 10:
        p, method = fisher(a, b), "Fisher's exact test, Newcombe interval"
    else:
        z = (b.mean - a.mean) / math.sqrt(pooled * (1 - pooled) * (1 / a.n + 1 / b.n))
        p, method = float(2 * norm.sf(abs(z))), "two-proportion z test, Newcombe interval"
    low, high = newcombe(a, b, alpha)
    return Interval(b.mean - a.mean, low, high, alpha, method, p)


def newcombe(a: Sums, b: Sums, alpha: float = 0.05) -> tuple[float, float]:
    """Interval for b - a from the Wilson intervals of both rates; never beyond [-1, 1]."""
    from scipy.stats import norm

    z = float(norm.ppf(1 - alpha / 2))
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
    a: Sequence[float], b: Sequence[float], q: float, alpha: float = 0.05, *, rounds: int = 1000, seed: int = 0
) -> Interval:
    """Quantile q of b minus that of a, percentile bootstrap."""
    if len(a) < 2 or len(b) < 2:
        return Interval(0.0, -math.inf, math.inf, alpha, f"bootstrap of the {q:.0%} quantile")
    rng = np.random.default_rng(seed)
    left, right = np.asarray(a, float), np.asarray(b, float)
    gaps = [
        np.quantile(rng.choice(right, right.size), q) - np.quantile(rng.choice(left, left.size), q)
        for _round in range(rounds)
    ]
    low, high = np.quantile(gaps, (alpha / 2, 1 - alpha / 2))
    gap = float(np.quantile(right, q) - np.quantile(left, q))
    return Interval(gap, float(low), float(high), alpha, f"bootstrap of the {q:.0%} quantile")


def sample_size(rate: float, lift: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Units per arm to find `rate + lift` beside `rate` with a two-sided z test looked at once."""
    from scipy.stats import norm

    other = rate + lift
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
    return math.ceil(z**2 * (rate * (1 - rate) + other * (1 - other)) / lift**2)
