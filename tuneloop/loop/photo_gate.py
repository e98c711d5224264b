"""What the gate of photo search asks of photos that were not learned from: newly right, newly wrong, other products."""

from __future__ import annotations

from typing import Any

import numpy as np

from tuneloop.records import Verdict
from tuneloop.stats import paired_bootstrap, sign_test, wilson
from tuneloop.texts import _
from tuneloop.tune.image_ladder import Held

WORST_CHANGE, ALPHA = -0.02, 0.05


def verdict_of(held: dict[str, Held], rung: str) -> Verdict:
    """Promote, refuse or not enough data, with the figures behind it."""
    seen, unseen = held["seen"], held["unseen"]
    better = int(((seen.after == 0) & (seen.before > 0)).sum())
    worse = int(((seen.after > 0) & (seen.before == 0)).sum())
    p = sign_test(better, worse)
    low = lower_bound(unseen)
    figures: dict[str, Any] = {
        "rung": rung,
        "seen": _figures(seen),
        "unseen": _figures(unseen),
        "all": _figures(joined(seen, unseen)),
        "newly_right": better,
        "newly_wrong": worse,
        "p": round(p, 6),
        "unseen_change_lower_bound": round(low, 4),
    }
    said = {"better": better, "worse": worse, "p": p, "low": low * 100}
    if p <= ALPHA and low > WORST_CHANGE:
        why = _(
            "{better} photos newly right, {worse} newly wrong (p = {p:.4f}); other products no worse than {low:+.1f}"
        )
        return Verdict("promote", why.format(**said), figures)
    if sign_test(worse, better) <= ALPHA:
        why = _("{better} photos newly right, {worse} newly wrong: what searches now is better")
        return Verdict("refuse", why.format(**said), figures)
    if p > ALPHA:
        why = _(
            "{better} photos newly right, {worse} newly wrong: that may be chance (p = {p:.3f}); collect more clicks"
        )
        return Verdict("not enough data", why.format(**said), figures)
    why = _("products without clicks may lose up to {low:.1f} points; collect clicks on more products")
    return Verdict("not enough data", why.format(low=-low * 100), figures)


def lower_bound(held: Held) -> float:
    """One-sided 90 % bound of the change of recall@1, by bootstrap over whole products; -1 without a photo."""
    if not len(held.product):
        return -1.0
    after, before = (held.after == 0).astype(float), (held.before == 0).astype(float)
    pairs = [
        list(zip(after[held.product == product], before[held.product == product], strict=True))
        for product in np.unique(held.product)
    ]
    return paired_bootstrap(pairs, lambda s: (s[:, 0] - s[:, 1]) / np.maximum(s[:, 2], 1), level=0.8)[1]


def _figures(held: Held) -> dict[str, Any]:
    n = len(held.product)
    said: dict[str, Any] = {"photos": n, "products": len(np.unique(held.product))}
    for name, ranks in (("before", held.before), ("after", held.after)):
        good = int((ranks == 0).sum())
        low, high = wilson(good, n)
        said[name] = {
            "recall_1": round(good / n, 4) if n else None,
            "recall_1_interval": [round(low, 4), round(high, 4)],
            "recall_5": round(float((ranks < 5).mean()), 4) if n else None,
            "mrr": round(float((1 / (1 + ranks)).mean()), 4) if n else None,
        }
    return said


def joined(a: Held, b: Held) -> Held:
    def both(name: str) -> Any:
        return np.concatenate([getattr(a, name), getattr(b, name)])

    return Held(both("product"), both("before"), both("after"), both("similarity"), both("without"))
