"""Beta-binomial readings of two rates: for reading, never for stopping.

"P(B > A) over 95 %" as a rule to stop, looked at every hundred units, names a winner between equals in half of all
tests. What these figures are good for is saying in plain words what the data so far make likely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuneloop.choose.sequential import Sums

DRAWS = 20_000  # standard error of a probability below 0.4 points


@dataclass(frozen=True, slots=True)
class Reading:
    """better: P(rate of b > rate of a). loss: expected rate given up by taking b. low, high: 95 % of b - a."""

    better: float
    loss: float
    low: float
    high: float
    method: str = "beta-binomial, uniform prior; for reading, not for stopping"


def read(a: Sums, b: Sums, *, seed: int = 0) -> Reading:
    """Posterior of the difference of two rates under uniform priors, by simulation."""
    rng = np.random.default_rng(seed)
    left = rng.beta(1 + a.total, 1 + a.n - a.total, DRAWS)
    right = rng.beta(1 + b.total, 1 + b.n - b.total, DRAWS)
    gap = right - left
    low, high = np.quantile(gap, (0.025, 0.975))
    return Reading(float((gap > 0).mean()), float(np.maximum(-gap, 0).mean()), float(low), float(high))
