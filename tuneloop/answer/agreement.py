"""How far a score agrees with people: AUC with its interval, calibration error, and the bar below which it may not act.

A judge that is no better than chance gives figures as handsome as a good one's. So every score is shown beside what
people clicked on the same answers, with how many clicks that was; and a score that acts (switches, guards, promotes)
must first have agreed with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.texts import _, n_

FEWEST = 30  # clicks below which no figure is given: the interval would be wider than 0.4
FEWEST_OF_A_KIND = 5
ENOUGH_TO_ACT = 50
BAR = 0.6  # of the interval's lower end


@dataclass(frozen=True, slots=True)
class Agreement:
    """n: answers with a score and a click; right: those called right. auc: the probability that a right answer scored
    higher than a wrong one (ties half), None with too few clicks."""

    n: int
    right: int
    auc: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def may_act(self) -> bool:
        """Whether something may be triggered by this score."""
        return self.n >= ENOUGH_TO_ACT and self.low is not None and self.low >= BAR

    @property
    def says(self) -> str:
        """One sentence for people."""
        if self.auc is None:
            said = n_(
                "not measured: {n} click, at least {least} with {each} of each kind are needed",
                "not measured: {n} clicks, at least {least} with {each} of each kind are needed",
                self.n,
            )
            return said.format(n=self.n, least=FEWEST, each=FEWEST_OF_A_KIND)
        said = _("AUC {auc:.2f} [{low:.2f}, {high:.2f}] against {n} clicks")
        return said.format(auc=self.auc, low=self.low, high=self.high, n=self.n)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "may_act": self.may_act, "says": self.says}


def agreement(values: Sequence[float], right: Sequence[bool]) -> Agreement:
    """The agreement of scores with clicks on the same answers."""
    n, good = len(values), sum(right)
    if n < FEWEST or min(good, n - good) < FEWEST_OF_A_KIND:
        return Agreement(n, good)
    found = auc(values, right)
    low, high = auc_interval(found, good, n - good)
    return Agreement(n, good, found, low, high)


def auc(values: Sequence[float], right: Sequence[bool]) -> float:
    """Area under the ROC curve: Mann-Whitney's U over the number of pairs. Both kinds must be there."""
    x, is_right = np.asarray(values, dtype=np.float64), np.asarray(right, dtype=bool)
    _levels, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # ties share the middle of their ranks
    good = int(is_right.sum())
    return float((ranks[is_right].sum() - good * (good + 1) / 2) / (good * (len(x) - good)))


def auc_interval(area: float, n_right: int, n_wrong: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of an AUC (Newcombe 2006, Statistics in Medicine 25:559, method 5): Hanley and McNeil's variance
    at the end that is sought, as in Wilson's interval of a share, so that an AUC of 1 has an interval too."""
    half = (n_right + n_wrong) / 2 - 1

    def beyond(theta: float) -> float:
        spread = theta * (1 - theta) / (n_right * n_wrong)
        variance = spread * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return abs(area - theta) - z * math.sqrt(max(variance, 0.0))

    return _crossing(beyond, area, 0.0), _crossing(beyond, area, 1.0)


def ece(probabilities: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error over bins of equally many answers (Nguyen & O'Connor 2015): how far, on average, a
    bin's share of right answers is from its mean probability. Chance alone gives about 0.4 / sqrt(n / bins)."""
    order = np.argsort(np.asarray(probabilities), kind="stable")
    p, y = np.asarray(probabilities, dtype=np.float64)[order], np.asarray(right, dtype=np.float64)[order]
    parts: list[NDArray[np.int64]] = np.array_split(np.arange(len(p)), min(bins, len(p)))
    return float(sum(len(part) * abs(p[part].mean() - y[part].mean()) for part in parts) / len(p))


def _crossing(beyond: Callable[[float], float], inside: float, outside: float) -> float:
    """Where `beyond` changes its sign; `outside` itself when it does not."""
    if beyond(outside) < 0:
        return outside
    for _step in range(60):
        middle = (inside + outside) / 2
        if beyond(middle) < 0:
            inside = middle
        else:
            outside = middle
    return outside
