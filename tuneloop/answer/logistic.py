"""Ridge logistic regression and the two ways of turning its values into probabilities, in numpy alone.

scikit-learn has all three; importing them costs a gateway 70 MB of the 90 it may take. The tests hold them against
scikit-learn's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import Damaged
from tuneloop.texts import _

Array = NDArray[np.float64]

FEW = 1000  # labels below which Platt's two numbers are safer than isotonic steps, which then follow the noise
STEPS = 50
NEAR = 1e-8
FURTHEST = 30.0  # log-odds beyond this are the same certainty


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Values to probabilities: by a line in log-odds (`slope`, `shift`), or by steps (`at` ascending, `levels`)."""

    slope: float = 1.0
    shift: float = 0.0
    at: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def probability(self, value: float) -> float:
        if not self.at:
            return sigmoid(self.slope * value + self.shift)
        return float(np.interp(value, self.at, self.levels))

    def as_dict(self) -> dict[str, Any]:
        return {"slope": self.slope, "shift": self.shift, "at": list(self.at), "levels": list(self.levels)}

    @classmethod
    def of(cls, written: Any) -> Calibrator:
        """Raises Damaged for what `as_dict` did not write."""
        try:
            made = cls(
                finite(written["slope"]),
                finite(written["shift"]),
                tuple(finite(x) for x in written["at"]),
                tuple(finite(x) for x in written["levels"]),
            )
        except (KeyError, TypeError, ValueError):
            raise damaged() from None
        if len(made.at) != len(made.levels) or list(made.at) != sorted(made.at):
            raise damaged()
        return made


def fit(features: Array, right: Array, weights: Array, *, ridge: float = 1.0) -> Array:
    """Weights of the columns and, last, the bias: the minimum of the weighted log-loss + ridge / 2 * |weights|^2.

    features: (n, d). right: 0 or 1 of each row. Newton's method with halved steps (Hastie, Tibshirani & Friedman
    2009, 4.4.1); the bias is not penalised.
    """
    x = np.hstack([features, np.ones((len(features), 1))])
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-9
    found = np.zeros(x.shape[1])
    loss = _loss(x, right, weights, penalty, found)
    for _step in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ found, -FURTHEST, FURTHEST)))
        gradient = x.T @ (weights * (p - right)) + penalty * found
        curvature = (x * (weights * np.maximum(p * (1 - p), 1e-9))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (tried := _loss(x, right, weights, penalty, found - size * step)) > loss and size > 1e-6:
            size /= 2
        found = found - size * step
        if loss - tried < NEAR:
            break
        loss = tried
    return found


def calibrate(values: Array, right: Array, weights: Array) -> Calibrator:
    """Platt's line below FEW labels, isotonic steps from there on."""
    return platt(values, right, weights) if len(values) < FEW else isotonic(values, right, weights)


def platt(values: Array, right: Array, weights: Array) -> Calibrator:
    """A line in log-odds, with targets drawn in from 0 and 1 by the counts (Platt 1999; Lin, Lin & Weng 2007)."""
    good = float(right.sum())
    high, low = (good + 1) / (good + 2), 1 / (len(right) - good + 2)
    slope, shift = fit(values[:, None], np.where(right > 0, high, low), weights, ridge=1e-6)
    # A falling line would mean that the value is worse than a coin: then it says nothing.
    return Calibrator(float(slope), float(shift)) if slope > 0 else Calibrator(0.0, _log_odds(good, len(right)))


def isotonic(values: Array, right: Array, weights: Array) -> Calibrator:
    """Rising steps by pooling adjacent violators (Barlow et al. 1972), straight lines between them."""
    order = np.argsort(values, kind="stable")
    blocks: list[list[float]] = []  # sum of weights, sum of weighted right, first value, last value
    for value, good, weight in zip(values[order], right[order], weights[order], strict=True):
        blocks.append([weight, weight * good, value, value])
        while len(blocks) > 1 and (
            blocks[-2][1] * blocks[-1][0] >= blocks[-1][1] * blocks[-2][0] or blocks[-2][3] == blocks[-1][2]
        ):
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1], blocks[-1][2], last[3]]
    # Half a label each way: a step of three right answers is no certainty.
    at: list[float] = []
    levels: list[float] = []
    for weight, good, first, final in blocks:
        level = (good + 0.5) / (weight + 1)
        for place in (first, final) if final > first else (first,):
            at.append(float(place))
            levels.append(max(float(level), levels[-1] if levels else 0.0))
    return Calibrator(at=tuple(at), levels=tuple(levels))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-FURTHEST, min(FURTHEST, value))))


def folds(groups: Sequence[str], n: int) -> NDArray[np.int64]:
    """The fold of each row, by its group: what is asked twice is never on both sides. Balanced, without chance."""
    from zlib import crc32

    order = sorted(set(groups), key=lambda group: (crc32(group.encode("utf-8", "replace")), group))
    place = {group: number % n for number, group in enumerate(order)}
    return np.array([place[group] for group in groups], dtype=np.int64)


def finite(value: Any) -> float:
    """Raises ValueError for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def damaged() -> Damaged:
    return Damaged(_("a stored score cannot be read"), fix=_("It is learned again as soon as there are labels."))


def _loss(x: Array, right: Array, weights: Array, penalty: Array, found: Array) -> float:
    z = x @ found
    return float(weights @ (np.logaddexp(0.0, z) - right * z) + 0.5 * penalty @ (found * found))


def _log_odds(good: float, n: int) -> float:
    return math.log((good + 1) / (n - good + 1))
