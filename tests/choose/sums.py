"""Sums the tests of statistics are fed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def cuped(
    arms: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """CUPED by its definition, from values: what `adjust.cuped` has to give from sums."""
    pairs = {name: (np.asarray(now, float), np.asarray(before, float)) for name, (now, before) in arms.items()}
    centred_now = np.concatenate([now - now.mean() for now, _before in pairs.values()])
    centred_before = np.concatenate([before - before.mean() for _now, before in pairs.values()])
    theta = float(centred_now @ centred_before) / float(centred_before @ centred_before)
    everywhere = np.concatenate([before for _now, before in pairs.values()]).mean()
    left = centred_now - theta * centred_before
    values = {name: now - theta * (before - everywhere) for name, (now, before) in pairs.items()}
    return values, 1 - float(left @ left) / float(centred_now @ centred_now)
