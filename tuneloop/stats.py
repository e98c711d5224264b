"""Small-sample statistics that more than one verb needs. Every function names its method and source."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def wilson(good: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a proportion (E. B. Wilson, JASA 1927); (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = good / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def sign_test(better: int, worse: int) -> float:
    """Exact one-sided p of `better` or more wins out of better + worse fair coin flips (McNemar's exact test)."""
    n = better + worse
    return sum(math.comb(n, k) for k in range(better, n + 1)) / 2**n if n else 1.0


def paired_bootstrap(
    groups: Sequence[Sequence[tuple[float, float]]],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Percentile bootstrap of a statistic over paired values, resampling whole groups (dialogues).

    groups: for each group its (a, b) pairs. statistic: maps sums of shape (resamples, 3) holding
    (sum a, sum b, count) to one value each, e.g. `lambda s: (s[:, 0] - s[:, 1]) / s[:, 2]`.
    Returns (estimate, low, high). Source: Efron & Tibshirani 1993, ch. 13; groups because messages of one
    dialogue are not independent.
    """
    sums = np.array([[sum(a for a, _ in g), sum(b for _, b in g), len(g)] for g in groups], dtype=np.float64)
    estimate = float(statistic(sums.sum(axis=0, keepdims=True))[0])
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=resamples)
    values = statistic(draws.astype(np.float64) @ sums)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return estimate, float(low), float(high)


def clicks_needed(wins: int, decided: int, certain: Callable[[int, int], bool], *, most: int = 100_000) -> int | None:
    """Further decided comparisons until `certain(wins, decided)` would hold if the share of wins stays as it is.

    0 when it holds already; None when the share is one half or the number would be beyond `most`. Within a tenth.
    """
    if certain(wins, decided):
        return 0
    if not decided or wins * 2 == decided:
        return None
    n = decided
    while n < most:
        n = math.ceil(n * 1.1) + 1
        if certain(round(wins / decided * n), n):
            return n - decided
    return None
