"""Beta-binomial readings of two rates: for reading, never for stopping.

"P(B > A) over 95 %" as a rule to stop, looked at every hundred units, names a winner between equals in half of all
tests. What these figures are good for is saying in plain words what the data so far make likely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tuneloop.choose.sequential import Sums

NODES = 200  # of the quadrature: 1e-6 or better against Evan Miller's closed form


@dataclass(frozen=True, slots=True)
class Reading:
    """better: P(rate of b > rate of a). loss: expected rate given up by taking b. low, high: 95 % of b - a."""

    better: float
    loss: float
    low: float
    high: float
    method: str = "beta-binomial, uniform prior; for reading, not for stopping"


def read(a: Sums, b: Sums) -> Reading:
    """Posterior of the difference of two rates under uniform priors, by quadrature over the quantiles of a's rate."""
    from scipy.special import betainc, betaincinv

    (hits_a, misses_a), (hits_b, misses_b) = (_beta(arm) for arm in (a, b))
    points, weights = _nodes()
    rates = betaincinv(hits_a, misses_a, points)  # of a, each as likely as its weight

    def below(shift: float) -> float:
        """P(b - a < shift)."""
        return float(weights @ betainc(hits_b, misses_b, np.clip(rates + shift, 0.0, 1.0)))

    mean_b = hits_b / (hits_b + misses_b)
    losses = rates * betainc(hits_b, misses_b, rates) - mean_b * betainc(hits_b + 1, misses_b, rates)
    low, high = (_solve(below, p) for p in (0.025, 0.975))
    return Reading(1 - below(0.0), float(weights @ losses), low, high)


def _beta(arm: Sums) -> tuple[float, float]:
    hits = min(max(arm.total, 0.0), float(arm.n))
    return 1 + hits, 1 + arm.n - hits


def _solve(below: Callable[[float], float], p: float) -> float:
    """The shift in [-1, 1] below which b - a lies with probability p, to a millionth."""
    low, high = -1.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < p else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=1)
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Legendre points and weights on (0, 1)."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    return (points + 1) / 2, weights / 2
