"""One door from sums to a sentence: what an experiment shows so far, and what to do about it.

Data come as running sums: for each metric and arm `Sums(n, total, squares)` over units (calls, or users where votes
are capped per user before they are summed); for a quantile metric the values themselves. The first arm is the one
that serves today; every other arm is compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tuneloop.choose import adjust, allocation, bayes, fixed
from tuneloop.choose.sequential import Interval, Sums, at_least, difference
from tuneloop.texts import _

Decision = Literal["winner", "no difference", "not enough data", "roll back", "withheld"]
LEAST = 100  # units per arm below which nothing is said


@dataclass(frozen=True, slots=True)
class Metric:
    """name; what better means; margin: a guardrail is broken when it is worse by more than this (same unit)."""

    name: str
    kind: Literal["rate", "mean", "quantile"] = "mean"
    better: Literal["up", "down"] = "up"
    role: Literal["goal", "guardrail"] = "goal"
    margin: float = 0.0
    q: float = 0.95  # of a quantile metric


@dataclass(frozen=True, slots=True)
class Design:
    """What was decided before the first unit. arms: name -> share; the first is today's."""

    arms: Mapping[str, float]
    metrics: Sequence[Metric]
    method: Literal["always-valid", "fixed", "bayes"] = "always-valid"
    alpha: float = 0.05
    least: int = LEAST
    planned: int = 0  # units per arm of a fixed-horizon test; before them it says "not enough data"
    moving: bool = False  # a bandit moves its shares: then counts say nothing about a fault in dividing


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one arm against today's."""

    metric: str
    arm: str
    base: float
    value: float
    interval: Interval
    adjusted_p: float
    better: bool  # beyond doubt at alpha
    worse: bool
    reading: bayes.Reading | None = None


@dataclass(frozen=True, slots=True)
class ExperimentVerdict:
    """`why` is a sentence for people; everything it rests on stands beside it."""

    decision: Decision
    arm: str
    why: str
    method: str
    alpha: float
    units: Mapping[str, int]
    ratio: allocation.RatioCheck
    comparisons: Sequence[Comparison] = ()
    more: int = 0  # units per arm that probably remain until a verdict; 0: unknown or none
    notes: Sequence[str] = field(default_factory=tuple)


def judge(
    design: Design,
    units: Mapping[str, int],
    sums: Mapping[str, Mapping[str, Sums]],
    values: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> ExperimentVerdict:
    """units: by arm, as assigned. sums, values: metric -> arm -> data."""
    ratio = allocation.ratio_check({} if design.moving else units, design.arms)
    compared = [
        _compare(design, metric, arm, sums.get(metric.name, {}), (values or {}).get(metric.name, {}))
        for metric in design.metrics
        for arm in list(design.arms)[1:]
    ]
    compared = _corrected(design, compared)

    def verdict(decision: Decision, arm: str, why: str, more: int = 0) -> ExperimentVerdict:
        return ExperimentVerdict(decision, arm, why, design.method, design.alpha, units, ratio, compared, more)

    if ratio.broken:
        said = _(
            "the arms did not get the shares they were meant to (p = {p:.1g}): look for a fault before any verdict"
        )
        return verdict("withheld", "", said.format(p=ratio.p))
    for metric in design.metrics:
        if metric.role == "guardrail" and (broken := _broken(design, metric, sums.get(metric.name, {}))):
            said = _("{arm} makes {metric} worse than allowed")
            return verdict("roll back", broken, said.format(arm=broken, metric=metric.name))
    fewest = min((units.get(arm, 0) for arm in design.arms), default=0)
    least = max(design.least, design.planned if design.method == "fixed" else 0)
    if fewest < least:
        said = _("{n} units in the smallest arm, {least} are needed before anything is said")
        return verdict("not enough data", "", said.format(n=fewest, least=least), least - fewest)
    return _decide(design, compared, verdict, fewest)


def _decide(
    design: Design, compared: Sequence[Comparison], make: Callable[..., ExperimentVerdict], fewest: int
) -> ExperimentVerdict:
    """make: fills in what every verdict carries. fewest: units in the smallest arm."""
    goals = {metric.name for metric in design.metrics if metric.role == "goal"}
    candidates = []
    for arm in list(design.arms)[1:]:
        mine = [c for c in compared if c.arm == arm]
        if any(c.better and c.metric in goals for c in mine) and not any(c.worse for c in mine):
            candidates.append((arm, sum(c.better for c in mine)))
    if candidates:
        arm = max(candidates, key=lambda found: found[1])[0]
        gains = ", ".join(c.metric for c in compared if c.arm == arm and c.better)
        return make("winner", arm, _("{arm} is better in {metrics}").format(arm=arm, metrics=gains))
    today = next(iter(design.arms))
    losers = {c.arm for c in compared if c.worse and c.metric in goals}
    if losers and losers == set(list(design.arms)[1:]):
        return make("winner", today, _("{arm}, what serves today, is better").format(arm=today))
    margins = {metric.name: metric.margin for metric in design.metrics if metric.role == "goal"}
    if margins and all(
        margins[c.metric] and -margins[c.metric] < c.interval.low and c.interval.high < margins[c.metric]
        for c in compared
        if c.metric in goals
    ):
        return make("no difference", "", _("no goal differs by more than its margin"))
    more = _more([c for c in compared if c.metric in goals], fewest)
    said = _("no difference is beyond doubt yet")
    if more:
        said += "; " + _("if what is seen so far is real, about {n} more units per arm").format(n=more)
    return make("not enough data", "", said, more)


def _compare(
    design: Design, metric: Metric, arm: str, sums: Mapping[str, Sums], values: Mapping[str, Sequence[float]]
) -> Comparison:
    today = next(iter(design.arms))
    nothing = Sums(0, 0.0, 0.0)
    a, b = sums.get(today, nothing), sums.get(arm, nothing)
    reading = bayes.read(a, b) if metric.kind == "rate" and a.n and b.n else None
    if metric.kind == "quantile":
        interval = fixed.quantile_difference(values.get(today, ()), values.get(arm, ()), metric.q, design.alpha)
    elif design.method == "fixed":
        interval = (fixed.rate_difference if metric.kind == "rate" else fixed.mean_difference)(a, b, design.alpha)
    elif not a.n or not b.n:
        interval = Interval(0.0, -math.inf, math.inf, design.alpha, "asymptotic confidence sequence")
    else:
        interval = difference(a, b, design.alpha)
    return Comparison(metric.name, arm, a.mean, b.mean, interval, interval.p, False, False, reading)


def _corrected(design: Design, compared: Sequence[Comparison]) -> list[Comparison]:
    """Holm over all metrics and arms; "better" and "worse" are said of adjusted p values only."""
    adjusted = adjust.holm({f"{c.metric}\0{c.arm}": c.interval.p for c in compared})
    direction = {metric.name: 1 if metric.better == "up" else -1 for metric in design.metrics}
    found = []
    for c in compared:
        p = adjusted[f"{c.metric}\0{c.arm}"]
        sure = p < design.alpha and design.method != "bayes"
        gain = c.interval.estimate * direction[c.metric]
        found.append(
            Comparison(c.metric, c.arm, c.base, c.value, c.interval, p, sure and gain > 0, sure and gain < 0, c.reading)
        )
    return found


def _broken(design: Design, metric: Metric, sums: Mapping[str, Sums]) -> str:
    """The arm whose guardrail is broken beyond doubt, at any number of units; "" for none."""
    today = next(iter(design.arms))
    base = sums.get(today)
    for arm in list(design.arms)[1:]:
        mine = sums.get(arm)
        if not base or not mine or min(base.n, mine.n) < 20:
            continue
        # worse by more than the margin: the lower bound of (worse direction) lies beyond it
        low = at_least(base, mine, design.alpha) if metric.better == "down" else at_least(mine, base, design.alpha)
        if low > metric.margin:
            return arm
    return ""


def _more(compared: Sequence[Comparison], n: int) -> int:
    """Units per arm still needed if the largest difference seen is real: the width shrinks with the square root."""
    needed = []
    for c in compared:
        width = c.interval.high - c.interval.estimate
        gap = abs(c.interval.estimate)
        if gap > 0 and math.isfinite(width) and width > gap:
            needed.append((width / gap) ** 2)
    return math.ceil((min(needed) - 1) * n) if needed and min(needed) < 100 else 0
