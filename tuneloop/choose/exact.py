"""Confidence sequences that need no large numbers: valid at every look from the first unit on.

Rates: beta-binomial mixture (Robbins 1970). Values between known bounds, like a score from 0 to 1: empirical
Bernstein with the gamma-exponential mixture (Howard, Ramdas, McAuliffe, Sekhon 2021, arXiv 1810.08240, theorem 4 and
proposition 9). Quantiles: the number of values below a quantile is binomial with a known chance, so that the same
mixture gives its rank (Howard, Ramdas 2022, arXiv 1906.09712).

The difference of two arms takes each arm's sequence at half the error rate: wider than an asymptotic sequence, by
about a third, and right where that one is not: few units, rare events, tails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tuneloop.choose.sequential import Interval, Sums, mixture_rho

Bounds = tuple[float, float]

# One mixture for all error rates, or the p values below would belong to none.
PRIOR = 1 / mixture_rho(0.025) - 1  # imagined values before the first: ranks are narrowest at TUNED_AT
RHO = 1 / mixture_rho(0.05, 10.0)  # narrowest at a variance process of 10: 60 values that scatter by 0.4


def rate_bounds(sums: Sums, alpha: float) -> Bounds:
    """Of a rate; also of the mean of values in [0, 1], for which a Bernoulli likelihood ratio is still a bet.

    The mixture over rates is Jeffreys' beta(1/2, 1/2); a rate is excluded when its likelihood is below alpha times
    the mixture's.
    """
    hits, misses = sums.total, sums.n - sums.total
    if sums.n == 0:
        return 0.0, 1.0
    mixture = _log_beta(hits + 0.5, misses + 0.5) - _log_beta(0.5, 0.5)

    def excluded(p: float) -> bool:
        likelihood = (hits * math.log(p) if hits else 0.0) + (misses * math.log1p(-p) if misses else 0.0)
        return mixture - likelihood >= -math.log(alpha)

    low = _edge(excluded, 0.0, sums.mean) if hits > 0 else 0.0
    high = _edge(excluded, 1.0, sums.mean) if misses > 0 else 1.0
    return low, high


def bernstein_bounds(sums: Sums, alpha: float, *, low: float = 0.0, high: float = 1.0) -> Bounds:
    """Of the mean of values in [low, high]; far narrower than `rate_bounds` when they scatter little."""
    span = high - low
    if sums.n == 0:
        return low, high
    width = span * gamma_exponential_bound(squared_errors(sums, low, span), alpha / 2) / sums.n
    return max(low, sums.mean - width), min(high, sums.mean + width)


def bounded_difference(
    a: Sums, b: Sums, alpha: float = 0.05, *, rate: bool = False, low: float = 0.0, high: float = 1.0
) -> Interval:
    """Mean of b minus mean of a. rate: the values are 0 or 1; else they lie in [low, high].

    Each bound also holds alone, so that this serves guardrails too.
    """
    method = "beta-binomial" if rate else "empirical-Bernstein"

    def bounds(level: float) -> Bounds:
        left, right = (
            rate_bounds(arm, level / 2) if rate else bernstein_bounds(arm, level / 2, low=low, high=high)
            for arm in (a, b)
        )
        return right[0] - left[1], right[1] - left[0]

    return _interval(b.mean - a.mean, bounds, alpha, f"{method} confidence sequence of each arm")


def quantile_bounds(ordered: Sequence[float], q: float, alpha: float) -> Bounds:
    """Of quantile q of values in ascending order, one of each unit. Infinite where there are too few values."""
    n = len(ordered)
    first, second = PRIOR * q, PRIOR * (1 - q)
    prior = _log_beta(first, second)
    middle = min(n, max(0, round(n * q)))

    def excluded(below: int) -> bool:
        likelihood = below * math.log(q) + (n - below) * math.log1p(-q)
        return _log_beta(first + below, second + n - below) - prior - likelihood >= -math.log(alpha)

    fewest = _last(lambda k: not excluded(middle - k), middle)
    most = _last(lambda k: not excluded(middle + k), n - middle)
    # The number of values up to the quantile lies in [middle - fewest, middle + most].
    rank_low, rank_high = middle - fewest, middle + most + 1
    return (
        ordered[rank_low - 1] if rank_low >= 1 else -math.inf,
        ordered[rank_high - 1] if rank_high <= n else math.inf,
    )


def quantile_difference(a: Sequence[float], b: Sequence[float], q: float, alpha: float = 0.05) -> Interval:
    """Quantile q of b minus that of a; values one of each unit, in any order. Each bound also holds alone."""
    left, right = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    method = f"confidence sequence of each arm's {q:.0%} quantile (beta-binomial ranks)"
    if not left.size or not right.size:
        return Interval(0.0, -math.inf, math.inf, alpha, method)

    def bounds(level: float) -> Bounds:
        low_a, high_a = quantile_bounds(left, q, level / 2)  # type: ignore[arg-type]
        low_b, high_b = quantile_bounds(right, q, level / 2)  # type: ignore[arg-type]
        return float(low_b - high_a), float(high_b - low_a)

    return _interval(float(np.quantile(right, q) - np.quantile(left, q)), bounds, alpha, method)


def _interval(estimate: float, bounds: Callable[[float], Bounds], alpha: float, method: str) -> Interval:
    """With the p value: the smallest error rate, to one part in a hundred, at which the interval excludes 0."""

    def excludes(level: float) -> bool:
        low, high = bounds(level)
        return low > 0 or high < 0

    low, high = bounds(alpha)
    p = 1.0
    if excludes(1.0):
        least, p = math.log(1e-12), 0.0  # in logarithms
        while p - least > 0.01:
            middle = (least + p) / 2
            least, p = (least, middle) if excludes(math.exp(middle)) else (middle, p)
        p = math.exp(p)
    return Interval(estimate, low, high, alpha, method, p)


def squared_errors(sums: Sums, low: float, span: float) -> float:
    """At most this much is the sum of squared errors of each value's prediction from those before it.

    The prediction is the mean of the earlier values and one imagined 1/2, on the scale from 0 to 1. By Welford's
    recursion the errors sum to the scatter around the final mean plus each value's share of it over its place; values
    lie in [0, 1], so that the second part is at most a harmonic sum whichever order they came in. So running sums do.
    """
    n = sums.n
    total = (sums.total - n * low) / span
    squares = (sums.squares - 2 * low * sums.total + n * low**2) / span**2
    scatter = max(0.0, squares + 0.25 - (total + 0.5) ** 2 / (n + 1))
    terms = min(n, math.ceil(2 * scatter))
    return scatter + sum(1 / (i + 1) for i in range(1, min(terms, 1000) + 1)) + math.log(max(1.0, terms / 1000))


def gamma_exponential_bound(v: float, alpha: float, rho: float = RHO) -> float:
    """What a sum of errors with variance process v exceeds, ever, with probability alpha at most (scale c = 1).

    exp(lambda s - (-log(1 - lambda) - lambda) v), mixed over lambda in [0, 1) with a density proportional to
    (1 - lambda)^(rho - 1) exp(-rho (1 - lambda)), is
    rho^rho / (Gamma(rho) P(rho, rho)) * Gamma(v + rho) P(v + rho, s + v + rho) exp(s + v) / (s + v + rho)^(v + rho).
    """
    from scipy.special import gammainc, gammaln

    constant = rho * math.log(rho) - gammaln(rho) - math.log(gammainc(rho, rho)) + gammaln(v + rho)

    def inside(s: float) -> bool:
        mass = float(gammainc(v + rho, s + v + rho))
        return bool(constant + math.log(mass) + s + v - (v + rho) * math.log(s + v + rho) < -math.log(alpha))

    low, high = 0.0, 1.0
    while inside(high):
        low, high = high, 2 * high
    for _step in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where exclusion begins between a value outside and one inside, on the outer side."""
    for _step in range(50):
        middle = (outside + inside) / 2
        if middle in (outside, inside):
            break
        outside, inside = (middle, inside) if excluded(middle) else (outside, middle)
    return outside


def _last(holds: Callable[[int], bool], most: int) -> int:
    """The largest k up to `most` for which a condition holds that, once false, stays false; it holds for 0."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
