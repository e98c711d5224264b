"""Two corrections: less noise from what was known before (CUPED), honest errors over several questions (Holm)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def cuped(
    arms: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> tuple[dict[str, Vector], float]:
    """Values with the part that a pre-period explains taken out, and the share of variance that removed.

    arms: name -> (values in the experiment, values of the same units before it). One theta for all arms, from the
    pooled within-arm covariance, so that the difference of means stays unbiased (Deng, Xu, Kohavi, Walker, WSDM 2013).
    """
    pairs = {name: (np.asarray(now, float), np.asarray(before, float)) for name, (now, before) in arms.items()}
    centred_now = np.concatenate([now - now.mean() for now, _before in pairs.values()])
    centred_before = np.concatenate([before - before.mean() for _now, before in pairs.values()])
    spread = float(centred_before @ centred_before)
    theta = float(centred_now @ centred_before) / spread if spread else 0.0
    everywhere = np.concatenate([before for _now, before in pairs.values()]).mean()
    adjusted = {name: now - theta * (before - everywhere) for name, (now, before) in pairs.items()}
    total = float(centred_now @ centred_now)
    left = centred_now - theta * centred_before
    return adjusted, 1 - float(left @ left) / total if total else 0.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values: rejecting those below alpha keeps the chance of any false one below alpha (Holm 1979)."""
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    adjusted, highest = {}, 0.0
    for position, (name, p) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - position) * p))
        adjusted[name] = highest
    return adjusted
