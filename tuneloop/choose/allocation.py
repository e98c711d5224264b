"""How units were, and should be, divided among arms, and how much one person counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuneloop.choose.sequential import Sums, mixture_rho

# p below which the division is broken; 6 % of experiments at large firms are (Fabijan et al., KDD 2019). Simulated
# (`python -m bench experiments`), looked at all the time up to 10,000 units: a split of 53 to 47 that was meant to be
# even is found in 98 %, half of them by 4,400 units, with false alarms below 0.1 %. Chi-square below 0.0005 finds
# 99.7 % when looked at once, at 10,000; looked at after every unit it raises 1.45 % false alarms.
MISMATCH = 0.001
MISMATCH_ONCE = 0.0005
PRIOR = 1 / mixture_rho(MISMATCH, 5000) - 1  # imagined units before the first; the test is sharpest at 5,000
DEAD = 0.1  # weight of gross faults, as many imagined units as arms: a dead arm is seen at 18 units, not at 73
FLOOR = 0.05  # least share of an arm in a bandit: what is never shown can never recover


@dataclass(frozen=True, slots=True)
class RatioCheck:
    """Whether arms got the shares they were meant to. once: the chi-square p value, for a single look."""

    p: float
    broken: bool
    method: str = "sequential multinomial test of the sample ratio"
    once: float = 1.0


def ratio_check(counts: Mapping[str, int], expected: Mapping[str, float]) -> RatioCheck:
    """counts: units by arm. expected: shares, or weights. Valid at every look: the verdict is watched, not planned.

    One over the likelihood ratio of Dirichlet mixtures around the expected shares to those shares (Lindon, Malek,
    "Anytime-valid inference for multinomial count data", NeurIPS 2022).
    """
    whole = sum(expected.values())
    shares = {arm: weight / whole for arm, weight in expected.items() if weight > 0}
    n = sum(counts.get(arm, 0) for arm in shares)
    if n == 0 or len(shares) < 2:
        return RatioCheck(1.0, False)
    fine, gross = (_log_ratio(counts, shares, n, imagined) for imagined in (PRIOR, float(len(shares))))
    larger = max(fine, gross)
    log_ratio = larger + math.log((1 - DEAD) * math.exp(fine - larger) + DEAD * math.exp(gross - larger))
    p = math.exp(-min(max(log_ratio, 0.0), 700.0))
    return RatioCheck(p, p < MISMATCH, once=chi_square(counts, shares))


def _log_ratio(counts: Mapping[str, int], shares: Mapping[str, float], n: int, imagined: float) -> float:
    """How much likelier a Dirichlet mixture of that many imagined units around the shares makes the counts."""
    found = math.lgamma(imagined) - math.lgamma(imagined + n)
    for arm, share in shares.items():
        k = counts.get(arm, 0)
        found += math.lgamma(imagined * share + k) - math.lgamma(imagined * share) - k * math.log(share)
    return found


def chi_square(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """p value of Pearson's test, broken below `MISMATCH_ONCE`; looked at again and again it cries wolf."""
    from scipy.special import chdtrc

    n = sum(counts.get(arm, 0) for arm in shares)
    statistic = sum((counts.get(arm, 0) - n * share) ** 2 / (n * share) for arm, share in shares.items())
    return float(chdtrc(len(shares) - 1, statistic))


def top_two(arms: Mapping[str, Sums], *, seed: int, draws: int = 4000, floor: float = FLOOR) -> dict[str, float]:
    """Shares of arms by top-two Thompson sampling (Russo 2016), each at least `floor`; they are the propensities.

    A draw from the posteriors names a leader. Half of the units go to it, half to its challenger: the best of the next
    draw that names another. The close contender gets what a plain Thompson sampler would starve. Values are rates,
    or means of values in [0, 1].
    """
    names = list(arms)
    floor = min(floor, 1 / len(names))
    rng = np.random.default_rng(seed)
    hits = np.array([min(max(arm.total, 0.0), arm.n) for arm in arms.values()])
    misses = np.array([arm.n for arm in arms.values()]) - hits
    ranks = np.argsort(-rng.beta(1 + hits, 1 + misses, (draws, len(names))), axis=1)
    leads = np.bincount(ranks[:, 0], minlength=len(names)) / draws
    wanted = leads / 2
    for leader in np.flatnonzero(leads):
        others = np.where(np.arange(len(names)) == leader, 0.0, leads)
        if not others.any():  # no draw names another: whoever comes second
            others = np.bincount(ranks[:, min(1, len(names) - 1)], minlength=len(names)).astype(float)
        wanted += leads[leader] / 2 * others / others.sum()
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
