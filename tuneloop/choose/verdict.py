"""One door from sums to a sentence: what an experiment shows so far, and what to do about it.

How data are summed. The unit is what the lot was drawn for: a user (a call where there is no user). For each metric
and arm:

    one value of a unit             Sums(n units, sum of values, sum of squares)
    votes                           Sums of one voice per user, the mean of theirs (`sequential.voices_of`):
                                    SELECT arm, count(*), sum(m), sum(m*m) FROM
                                      (SELECT arm, user, avg(value) AS m ... GROUP BY arm, user)
    several values of a unit        Joint(y: Sums of the units' own sums, x: Sums of how many they have, sum of y x),
    (response times, errors)        `sequential.joint_of`, so that every value weighs the same:
                                    SELECT arm, count(*), sum(y), sum(y*y), sum(x), sum(x*x), sum(y*x) FROM
                                      (SELECT arm, user, sum(value) AS y, count(*) AS x ... GROUP BY arm, user)
    ratio of two things             Joint(y: numerators by unit, x: denominators by unit, sum of products)
    quantile                        the values themselves, one of each unit
    known from before (CUPED)       `before`: Joint(y: values by unit, x: the same units' values before)

Votes are capped per user (`allocation.capped`, the latest count) before they are summed. Several values of one user
summed as if each were a unit of its own break every promise below: they agree with one another. Units are counted as
assigned, whether or not they have a value. The first arm is the one that serves today; every other arm is compared
with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tuneloop.choose import adjust, allocation, bayes, exact, fixed, sequential
from tuneloop.choose.sequential import Interval, Joint, Sums
from tuneloop.texts import _

Decision = Literal["winner", "no difference", "not enough data", "roll back", "withheld"]
Values = Mapping[str, Mapping[str, Sequence[float]]]  # metric -> arm -> values
LEAST = 100  # units per arm, and with a value of the metric, below which no winner is named
ENOUGH = 100  # units per arm from which asymptotic sequences are used; fewer: exact ones where bounds are known
GUARDED = 50  # units per arm from which a guardrail on values without known bounds speaks
HOPELESS = 100  # times the units so far: when a verdict is farther away than that, no estimate is given


@dataclass(frozen=True, slots=True)
class Metric:
    """name; what better means; margin: a guardrail is broken when it is worse by more than this (same unit).

    kind "rate": values 0 or 1; "mean": any; "ratio": of two sums over units; "quantile": q of the values. low, high:
    bounds that values of a mean cannot leave, where there are such (a score from 0 to 1).
    """

    name: str
    kind: Literal["rate", "mean", "ratio", "quantile"] = "mean"
    better: Literal["up", "down"] = "up"
    role: Literal["goal", "guardrail"] = "goal"
    margin: float = 0.0
    q: float = 0.95  # of a quantile metric
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Design:
    """What was decided before the first unit. arms: name -> share; the first is today's. The first goal decides."""

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
    interval: Interval  # of the arm's value minus today's
    adjusted_p: float  # Holm, over all goals and arms, or all guardrails and arms
    better: bool  # beyond doubt at alpha
    worse: bool  # a goal: beyond doubt; a guardrail: by more than its margin
    reading: bayes.Reading | None = None
    n: int = 0  # units with a value in the smaller of both arms
    harm: Interval | None = None  # of a guardrail: how much worse, one-sided, alpha shared among guardrails and arms


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
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Data:
    """One metric's data of today's arm and another, as the tests take them."""

    a: Sums
    b: Sums
    rate: bool
    bounds: tuple[float, float] | None
    of: str  # how the sums were made, for the method
    values: tuple[Sequence[float], Sequence[float]]

    @property
    def n(self) -> int:
        return min(len(self.values[0]), len(self.values[1])) or min(self.a.n, self.b.n)


def judge(
    design: Design,
    units: Mapping[str, int],
    sums: Mapping[str, Mapping[str, Sums | Joint]],
    values: Values | None = None,
    before: Mapping[str, Mapping[str, Joint]] | None = None,
) -> ExperimentVerdict:
    """units: by arm, as assigned. sums, values, before: metric -> arm -> data, as told at the top of this module.

    May be called after every unit: always-valid verdicts and guardrails keep alpha over all looks together.
    """
    ratio = allocation.ratio_check({} if design.moving else units, design.arms)
    compared = _corrected(
        design,
        [
            _compare(design, metric, arm, _data(design, metric, arm, sums, values or {}, before or {}))
            for metric in design.metrics
            for arm in list(design.arms)[1:]
        ],
    )
    least = max(design.least, design.planned if design.method == "fixed" else 0)
    fewest = min((units.get(arm, 0) for arm in design.arms), default=0)
    decision, arm, why, more, notes = _decide(design, compared, ratio, fewest, least)
    return ExperimentVerdict(decision, arm, why, design.method, design.alpha, units, ratio, compared, more, notes)


Said = tuple[Decision, str, str, int, tuple[str, ...]]  # decision, arm, why, more, notes


def _decide(
    design: Design, compared: Sequence[Comparison], ratio: allocation.RatioCheck, fewest: int, least: int
) -> Said:
    """fewest: units in the smallest arm. The safe act first: an arm that does harm goes, whatever else is wrong."""
    mismatch = _(
        "the arms did not get the shares they were meant to (p = {p:.1g}): look for a fault before any verdict"
    ).format(p=ratio.p)
    for c in compared:
        if c.harm is not None and c.worse:
            why = _("{arm} makes {metric} worse than allowed").format(arm=c.arm, metric=c.metric)
            return "roll back", c.arm, why, 0, (mismatch,) if ratio.broken else ()
    if ratio.broken:
        return "withheld", "", mismatch, 0, ()
    if fewest < least:
        why = _("{n} units in the smallest arm, {least} are needed before anything is said")
        return "not enough data", "", why.format(n=fewest, least=least), least - fewest, ()
    goals = [c for c in compared if c.harm is None]
    if design.method == "bayes":
        return "not enough data", "", _("a Bayesian reading informs and ends nothing: choose another method"), 0, ()
    won = _won(design, goals) if goals else None
    return won or _alike(design, goals) or _undecided(design, goals, fewest)


def _won(design: Design, goals: Sequence[Comparison]) -> Said | None:
    today, *others = design.arms
    lost = {c.arm for c in goals if c.worse}
    gains = {arm: [c.metric for c in goals if c.arm == arm and c.better] for arm in others}
    ahead = [arm for arm in others if arm not in lost and _leads(design, [c for c in goals if c.arm == arm])]
    if ahead:
        # Against one another they were not tested: the most goals, then the surest.
        surest = {arm: min(c.adjusted_p for c in goals if c.arm == arm) for arm in ahead}
        arm = min(ahead, key=lambda name: (-len(gains[name]), surest[name]))
        why = _("{arm} is better in {metrics}").format(arm=arm, metrics=", ".join(gains[arm]))
        rest = ", ".join(name for name in ahead if name != arm)
        note = _("{arms} also beat {today}; the arms that beat it were not compared with one another")
        return "winner", arm, why, 0, (note.format(arms=rest, today=today),) if rest else ()
    if not lost or lost != set(others):
        return None
    torn = next((arm for arm in others if gains[arm]), "")
    if not torn:
        return "winner", today, _("{arm}, what serves today, is better").format(arm=today), 0, ()
    losses = ", ".join(c.metric for c in goals if c.arm == torn and c.worse)
    why = _("{arm} is better in {gains} and worse in {losses}: data cannot weigh them, a person can")
    return "withheld", "", why.format(arm=torn, gains=", ".join(gains[torn]), losses=losses), 0, ()


def _leads(design: Design, goals: Sequence[Comparison]) -> bool:
    """Whether an arm with no worse goal wins: the first goal is better, or is shown to keep its margin and another is.

    A faster model that answers worse would win on speed alone long before enough people had voted; so the first goal
    decides, and every other has its units and, where it names a margin, is shown to keep it.
    """
    metrics = {metric.name: metric for metric in design.metrics}

    def keeps(c: Comparison) -> bool:
        metric = metrics[c.metric]
        worst = c.interval.low if metric.better == "up" else -c.interval.high
        return metric.margin > 0 and c.n >= design.least and worst > -metric.margin

    first, *rest = goals
    if not (first.better or (keeps(first) and any(c.better for c in rest))):
        return False
    return all(c.better or keeps(c) or (c.n >= design.least and not metrics[c.metric].margin) for c in rest)


def _alike(design: Design, goals: Sequence[Comparison]) -> Said | None:
    """All goals within their margins: each at alpha, because all of them must hold."""
    margins = {metric.name: metric.margin for metric in design.metrics}
    for c in goals:
        margin = margins[c.metric]
        if not (margin and c.n >= design.least and -margin < c.interval.low and c.interval.high < margin):
            return None
    return ("no difference", "", _("no goal differs by more than its margin"), 0, ()) if goals else None


def _undecided(design: Design, goals: Sequence[Comparison], fewest: int) -> Said:
    thin = min(goals, key=lambda c: c.n, default=None)
    if thin is not None and thin.n < design.least:
        why = _("{n} units of the smallest arm have a value of {metric}, {least} are needed before anything is said")
        # As many more units as it takes at the rate at which values came so far.
        more = math.ceil((design.least - thin.n) * fewest / thin.n) if thin.n else 0
        return "not enough data", "", why.format(n=thin.n, metric=thin.metric, least=design.least), more, ()
    more = _more(design, goals, fewest)
    why = _("no difference is beyond doubt yet")
    if more:
        why += "; " + _("if what is seen so far is real, about {n} more units per arm").format(n=more)
    return "not enough data", "", why, more, ()


def _data(
    design: Design, metric: Metric, arm: str, sums: Mapping[str, Mapping[str, Sums | Joint]], values: Values,
    before: Mapping[str, Mapping[str, Joint]],
) -> _Data:  # fmt: skip
    today = next(iter(design.arms))
    nothing = Sums(0, 0.0, 0.0)
    found = {name: sums.get(metric.name, {}).get(name, nothing) for name in (today, arm)}
    known = before.get(metric.name, {})
    own = values.get(metric.name, {})
    pair = (own.get(today, ()), own.get(arm, ())) if metric.kind == "quantile" else ((), ())
    of, plain = "", {}
    if set(known) >= set(design.arms):
        adjusted, removed = adjust.cuped({name: known[name] for name in design.arms})
        plain, of = {name: adjusted[name] for name in found}, f", CUPED ({removed:.0%} of the variance removed)"
    elif any(isinstance(one, Joint) for one in found.values()):
        plain = {name: sequential.ratio(one) if isinstance(one, Joint) else one for name, one in found.items()}
        of = ", delta method over units"
    else:
        plain = {name: one for name, one in found.items() if isinstance(one, Sums)}
    a, b = (plain[name] if _sound(plain[name]) else nothing for name in (today, arm))
    low, high = (0.0, 1.0) if metric.kind == "rate" else (metric.low, metric.high)
    bounds = None
    # Reported values are not always what was promised: outside their bounds they are means like any other.
    if not of and low is not None and high is not None and all(_within(one, low, high) for one in (a, b)):
        bounds = (low, high)
    rate = bounds is not None and metric.kind == "rate" and all(abs(s.squares - s.total) <= 1e-9 * s.n for s in (a, b))
    return _Data(a, b, rate, bounds, of, pair)


def _sound(sums: Sums) -> bool:
    return sums.n > 0 and math.isfinite(sums.total) and math.isfinite(sums.squares)


def _within(sums: Sums, low: float, high: float) -> bool:
    """Every value in [low, high]: then (value - low) (value - high) is never above 0, and neither is their sum."""
    slack = 1e-9 * max(1.0, abs(sums.squares))
    inside = sums.squares - (low + high) * sums.total + sums.n * low * high <= slack
    return inside and sums.n * low - slack <= sums.total <= sums.n * high + slack


def _compare(design: Design, metric: Metric, arm: str, data: _Data) -> Comparison:
    alpha = design.alpha
    base, value = data.a.mean, data.b.mean
    if metric.kind == "quantile":
        test = fixed.quantile_difference if design.method == "fixed" else exact.quantile_difference
        interval = test(*data.values, metric.q, alpha)
        base, value = (_quantile(one, metric.q) for one in data.values)
    elif design.method == "fixed":
        interval = (fixed.rate_difference if data.rate else fixed.mean_difference)(data.a, data.b, alpha)
        interval = replace(interval, method=interval.method + data.of)
    elif data.n < ENOUGH and data.bounds:
        low, high = data.bounds
        interval = exact.bounded_difference(data.a, data.b, alpha, rate=data.rate, low=low, high=high)
    else:
        interval = sequential.difference(data.a, data.b, alpha, rate=data.rate, of=data.of)
    reading = bayes.read(data.a, data.b) if data.rate and data.n else None
    harm = _harm(design, metric, data) if metric.role == "guardrail" else None
    return Comparison(
        metric.name, arm, base, value, interval, interval.p, False,
        harm is not None and harm.low > metric.margin, reading, data.n, harm,
    )  # fmt: skip


def _harm(design: Design, metric: Metric, data: _Data) -> Interval:
    """How much worse the arm is, at least: valid at every look, whatever the method of the goals."""
    guardrails = sum(one.role == "guardrail" for one in design.metrics)
    alpha = design.alpha / (guardrails * (len(design.arms) - 1))  # Bonferroni: few, and the bound can be shown
    first, second = (data.a, data.b) if metric.better == "down" else (data.b, data.a)
    if metric.kind == "quantile":
        left, right = data.values if metric.better == "down" else data.values[::-1]
        return exact.quantile_difference(left, right, metric.q, alpha)
    if data.n < ENOUGH and data.bounds:
        low, high = data.bounds
        return exact.bounded_difference(first, second, alpha, rate=data.rate, low=low, high=high)
    if data.n < GUARDED:
        return Interval(second.mean - first.mean, -math.inf, math.inf, alpha, "too few units")
    return sequential.at_least(first, second, alpha, margin=metric.margin, rate=data.rate, of=data.of)


def _corrected(design: Design, compared: Sequence[Comparison]) -> list[Comparison]:
    """Holm over all arms and the goals, or the guardrails; "better" is said of adjusted p values only."""
    direction = {metric.name: 1 if metric.better == "up" else -1 for metric in design.metrics}
    found = list(compared)
    for guardrails in (False, True):
        family = {i: c for i, c in enumerate(compared) if (c.harm is not None) == guardrails}
        adjusted = adjust.holm({str(i): c.interval.p if c.n >= design.least else 1.0 for i, c in family.items()})
        for i, c in family.items():
            p = adjusted[str(i)]
            sure = p < design.alpha and design.method != "bayes"
            gain = c.interval.estimate * direction[c.metric]
            worse = c.worse if guardrails else sure and gain < 0
            found[i] = replace(c, adjusted_p=p, better=sure and gain > 0, worse=worse)
    return found


def _more(design: Design, goals: Sequence[Comparison], fewest: int) -> int:
    """Units per arm still needed, with four chances in five, if the clearest difference seen is real; 0 for unknown."""
    needed = []
    for c in goals:
        width = c.interval.high - c.interval.estimate
        if c.interval.estimate and math.isfinite(width) and c.n:
            # The variance of one unit of each arm, from the width that n of them gave.
            variance = c.n * (width / float(sequential.half_width(1.0, c.n, design.alpha))) ** 2
            n = sequential.units_needed(c.interval.estimate, variance, design.alpha / len(goals))
            if c.n < n < HOPELESS * c.n:
                needed.append((n - c.n) / c.n)
    return math.ceil(min(needed) * fewest) if needed else 0


def _quantile(values: Sequence[float], q: float) -> float:
    import numpy as np

    return float(np.quantile(values, q)) if len(values) else 0.0
