"""How units were, and should be, divided among arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuneloop.choose.sequential import Sums

MISMATCH = 0.0005  # p below which the division is broken: 6 % of experiments at large firms are (Fabijan et al. 2019)
FLOOR = 0.05  # least share of an arm in a bandit: what is never shown can never recover


@dataclass(frozen=True, slots=True)
class RatioCheck:
    """Whether arms got the shares they were meant to."""

    p: float
    broken: bool
    method: str = "chi-square test of the sample ratio"


def ratio_check(counts: Mapping[str, int], expected: Mapping[str, float]) -> RatioCheck:
    """counts: units by arm. expected: shares that sum to 1."""
    from scipy.stats import chi2

    n = sum(counts.values())
    if n == 0 or len(expected) < 2:
        return RatioCheck(1.0, False)
    statistic = sum((counts.get(arm, 0) - n * share) ** 2 / (n * share) for arm, share in expected.items() if share > 0)
    p = float(chi2.sf(statistic, len(expected) - 1))
    return RatioCheck(p, p < MISMATCH)


def top_two(arms: Mapping[str, Sums], *, seed: int, draws: int = 2000, floor: float = FLOOR) -> dict[str, float]:
    """Shares of arms by top-two Thompson sampling (Russo 2016), each at least `floor`; they are the propensities.

    Half of the units go to the arm that a draw from the posteriors finds best, half to the best of a second draw that
    disagrees: the close contender gets what a plain Thompson sampler would starve. Values are rates in [0, 1].
    """
    names = list(arms)
    rng = np.random.default_rng(seed)
    samples = np.column_stack(
        [rng.beta(1 + arm.total, 1 + max(0.0, arm.n - arm.total), draws) for arm in arms.values()]
    )
    order = np.argsort(-samples, axis=1)
    count = np.zeros(len(names))
    np.add.at(count, order[:, 0], 0.5)
    np.add.at(count, order[:, 1] if len(names) > 1 else order[:, 0], 0.5)
    wanted = count / draws
    spare = 1 - floor * len(names)
    return {name: floor + spare * float(share) for name, share in zip(names, wanted, strict=True)}


def capped(values: Sequence[tuple[str, float]], cap: int) -> list[tuple[str, float]]:
    """At most `cap` votes of one user count, the latest ones: one person with 250 clicks is still one person.

    values: (user, value), oldest first. Votes without a user ("") are all of one unknown person.
    """
    left: dict[str, int] = {}
    kept = []
    for user, value in reversed(values):
        if left.get(user, 0) < cap:
            left[user] = left.get(user, 0) + 1
            kept.append((user, value))
    return kept[::-1]
