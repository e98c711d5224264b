"""Inference that stays valid however often one looks: mSPRT and confidence sequences, from running sums.

Methods. Normal mixture: Robbins 1970; as mSPRT for A/B tests Johari, Pekelis, Walsh 2015 (arXiv 1512.04922), as
asymptotic confidence sequences Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2021 (arXiv 2103.06476). Empirical
Bernstein sequence for bounded values: Howard, Ramdas, McAuliffe, Sekhon 2021 (arXiv 1810.08240), valid from the first
observation and not only asymptotically.

Every function takes sums, so that one look costs the same after a million observations as after ten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TUNED_AT = 1000  # observations per arm at which the boundary is narrowest; fixed beforehand, never chosen by the data


@dataclass(frozen=True, slots=True)
class Sums:
    """Of one arm and metric: n units, the sum of their values and of their squares."""

    n: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Unbiased; 0 below two observations."""
        if self.n < 2:
            return 0.0
        return max(0.0, (self.squares - self.total**2 / self.n) / (self.n - 1))


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its bounds, the error rate they keep at every look, and how they were made."""

    estimate: float
    low: float
    high: float
    alpha: float
    method: str
    p: float = 1.0  # always-valid p value of "no difference", where the method has one

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def mixture_width(variance_of_mean: float, n: float, alpha: float, *, tuned_at: float = TUNED_AT) -> float:
    """Half width of the two-sided normal-mixture sequence around an estimate with this variance after n observations.

    With intrinsic time V = n (variances are scaled to one) and rho chosen for `tuned_at`:
    sqrt((V rho + 1) / rho * log((V rho + 1) / alpha^2)) / V, times the standard deviation of one observation.
    """
    if n <= 0 or variance_of_mean <= 0:
        return math.inf
    rho = mixture_rho(alpha, tuned_at)
    scale = math.sqrt(variance_of_mean * n)
    return scale * math.sqrt((n * rho + 1) / rho * math.log((n * rho + 1) / alpha**2)) / n


def mixture_rho(alpha: float, tuned_at: float) -> float:
    """The mixture's precision that makes the boundary narrowest at `tuned_at` (Waudby-Smith et al., appendix B)."""
    return (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned_at


def difference(a: Sums, b: Sums, alpha: float = 0.05, *, tuned_at: float = TUNED_AT) -> Interval:
    """Mean of b minus mean of a: asymptotic confidence sequence, for means and rates alike.

    The variance is the plug-in one; for rates a pseudo-observation of each kind keeps it from zero at the start.
    """
    n = harmonic(a.n, b.n)
    spread = _spread(a) + _spread(b)
    width = mixture_width(spread, n, alpha, tuned_at=tuned_at)
    estimate = b.mean - a.mean
    p = mixture_p(estimate, spread, n, alpha, tuned_at)
    return Interval(estimate, estimate - width, estimate + width, alpha, "asymptotic confidence sequence", p)


def mixture_p(estimate: float, variance: float, n: float, alpha: float, tuned_at: float) -> float:
    """Always-valid p value: the reciprocal of the mixture likelihood ratio (mSPRT), at most 1."""
    if variance <= 0 or n <= 0:
        return 1.0
    rho = mixture_rho(alpha, tuned_at)
    z2 = estimate**2 / variance
    log_ratio = 0.5 * z2 * (n * rho) / (n * rho + 1) - 0.5 * math.log(n * rho + 1)
    return min(1.0, math.exp(-log_ratio)) if log_ratio < 700 else 0.0


def at_least(a: Sums, b: Sums, alpha: float = 0.05, *, tuned_at: float = TUNED_AT) -> float:
    """Lower confidence sequence of b - a, one-sided: for guardrails. -inf while nothing can be said."""
    # One side of the two-sided boundary at twice the error rate: conservative, and one formula instead of two.
    return difference(a, b, min(2 * alpha, 0.5), tuned_at=tuned_at).low


def bernstein_width(sums: Sums, alpha: float, *, low: float = 0.0, high: float = 1.0) -> float:
    """Half width of an empirical-Bernstein sequence for the mean of values in [low, high], at every n >= 1.

    Stitched boundary (Howard et al. 2021, eq. 10 with eta = 2, s = 1.4, m = 1) on the empirical variance.
    """
    if sums.n < 1:
        return math.inf
    span = high - low
    v = max(1.0, sums.n * sums.variance / span**2)
    ell = 1.4 * math.log(math.log(2 * v) + 1) + math.log(5.19 * 2 / alpha)
    return span * (1.7 * math.sqrt(v * ell) + 3.42 * ell) / sums.n


def ratio(a: tuple[Sums, Sums, float], b: tuple[Sums, Sums, float], alpha: float = 0.05) -> Interval:
    """Ratio of b minus ratio of a, for metrics like tokens per request summed by user, by the delta method.

    Each arm: (sums of numerators, sums of denominators, sum of their products), one unit one user.
    """
    estimates, variances = [], []
    for top, bottom, products in (a, b):
        if top.n < 2 or bottom.mean == 0:
            return Interval(0.0, -math.inf, math.inf, alpha, "delta method, confidence sequence")
        covariance = (products - top.total * bottom.total / top.n) / (top.n - 1)
        value = top.mean / bottom.mean
        spread = top.variance - 2 * value * covariance + value**2 * bottom.variance
        estimates.append(value)
        variances.append(max(0.0, spread) / bottom.mean**2 / top.n)
    n = harmonic(a[0].n, b[0].n)
    width = mixture_width(sum(variances), n, alpha)
    gap = estimates[1] - estimates[0]
    p = mixture_p(gap, sum(variances), n, alpha, TUNED_AT)
    return Interval(gap, gap - width, gap + width, alpha, "delta method, confidence sequence", p)


def harmonic(a: int, b: int) -> float:
    """Observations per arm of a balanced test that is worth as much: 2ab / (a + b)."""
    return 2 * a * b / (a + b) if a and b else 0.0


def _spread(arm: Sums) -> float:
    """Variance of the mean, never zero: one imagined observation half a range away on each side."""
    if arm.n < 2:
        return math.inf
    return (arm.variance * (arm.n - 1) + 0.5) / arm.n / arm.n if arm.variance * arm.n < 0.5 else arm.variance / arm.n
