"""Sums the tests of statistics are fed with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuneloop.choose.sequential import Joint, Sums


def rate(hits: float, n: int) -> Sums:
    """hits ones among n values that are 0 or 1."""
    return Sums(n, float(hits), float(hits))


def of(values: NDArray[np.float64]) -> Sums:
    return Sums(values.size, float(values.sum()), float(values @ values))


def joint(y: NDArray[np.float64], x: NDArray[np.float64]) -> Joint:
    return Joint(of(y), of(x), float(y @ x))
