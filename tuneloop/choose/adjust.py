"""Two corrections: less noise from what was known before (CUPED), honest errors over several questions (Holm)."""

from __future__ import annotations

from collections.abc import Mapping

from tuneloop.choose.sequential import Joint, Sums


def cuped(arms: Mapping[str, Joint]) -> tuple[dict[str, Sums], float]:
    """Values with the part that a pre-period explains taken out, and the share of variance that removed.

    y of now, x of before, per unit; a unit without a past has x = the mean of others. One theta for all arms, from the
    pooled within-arm covariance, so that the difference of means stays unbiased (Deng, Xu, Kohavi, Walker, WSDM 2013).
    Returns sums as if each unit's adjusted value had been added up, so that every test takes them.
    """
    degrees = {name: max(0, arm.y.n - 1) for name, arm in arms.items()}
    spread = sum(degrees[name] * arm.x.variance for name, arm in arms.items())
    shared = sum(degrees[name] * arm.covariance for name, arm in arms.items())
    theta = shared / spread if spread > 0 else 0.0
    units = sum(arm.x.n for arm in arms.values())
    everywhere = sum(arm.x.total for arm in arms.values()) / units if units else 0.0
    adjusted = {}
    before = after = 0.0
    for name, arm in arms.items():
        n = arm.y.n
        mean = arm.y.mean - theta * (arm.x.mean - everywhere)
        variance = max(0.0, arm.y.variance - 2 * theta * arm.covariance + theta**2 * arm.x.variance)
        adjusted[name] = Sums(n, n * mean, degrees[name] * variance + n * mean**2)
        before += degrees[name] * arm.y.variance
        after += degrees[name] * variance
    return adjusted, 1 - after / before if before > 0 else 0.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values: rejecting those below alpha keeps the chance of any false one below alpha (Holm 1979)."""
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    adjusted, highest = {}, 0.0
    for position, (name, p) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - position) * p))
        adjusted[name] = highest
    return adjusted
