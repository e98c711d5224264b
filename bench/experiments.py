"""Verdicts of simulated experiments: always-valid beside z tests that peek, a z test looked at once, and Bayes.

Every experiment has 4,000 units per arm and is looked at after each of them from the 100th on, by the product's own
formulas on arrays. False winners: of experiments whose arms are equal. Power: of those with a real difference.
Then guardrails, the sample ratio, users with several votes, and whole verdicts. Seeded; simulated, not people.
Asked for: false winners <= 5 %; power >= 88 % with <= 55 % of the fixed sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.choose import allocation, fixed, sequential
from tuneloop.choose.sequential import Sums
from tuneloop.choose.verdict import Design, Metric, judge

UNITS, FIRST, ALPHA = 4000, 100, 0.05
SHIFT = 0.0943  # standard deviations: as hard to see as 13 % beside 10 %

Vector = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Vector]
Seen = tuple[Vector, Vector, Vector, Vector, Vector]  # difference, its variance, units of both arms, balanced units


def rates(p: float) -> Draw:
    return lambda rng, shape: (rng.random(shape) < p).astype(float)


def normal(mean: float) -> Draw:
    return lambda rng, shape: rng.normal(mean, 1.0, shape)


def skewed(sigma: float) -> Draw:
    """Lognormal, like response times."""
    return lambda rng, shape: rng.lognormal(0.0, sigma, shape)


def seen(
    a: Draw, b: Draw, runs: int, *, rate: bool, share: float = 0.5, units: int = UNITS, seed: int = 0
) -> Iterator[Seen]:
    """What is known after each pair of units, some runs at a time. share: of arm b; the arms get 2 `units` together."""
    rng = np.random.default_rng(seed)
    step = np.arange(1, units + 1)
    m = np.maximum(2, np.round(2 * step * share).astype(int))
    n = np.maximum(2, 2 * step - m)
    for start in range(0, runs, 200):
        size = min(200, runs - start)
        x, y = (draw(rng, (size, int(count.max()))) for draw, count in ((a, n), (b, m)))
        (sx, qx), (sy, qy) = (
            (np.cumsum(values, axis=1)[:, count - 1], np.cumsum(values * values, axis=1)[:, count - 1])
            for values, count in ((x, n), (y, m))
        )
        if rate:
            variance = sequential.spread_of_rates(n, sx, m, sy)
        else:
            variance = sequential.spread_of_means(n, sx, qx, m, sy, qy)
        yield sy / m - sx / n, variance, n, m, sequential.balanced(n, m)


def stops(found: Iterator[Seen], rule: Callable[[Seen], Any], first: int = FIRST) -> Vector:
    """Of each run the place of the first look at which the rule stops it; infinite when it never does."""
    places = []
    for one in found:
        hit = rule(one) & (np.minimum(one[2], one[3]) >= first)
        places.append(np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, np.inf))
    return np.concatenate(places)


def always_valid(one: Seen) -> Any:
    gap, variance, _n, _m, balanced = one
    return np.abs(gap) > sequential.half_width(variance, balanced, ALPHA)


def harmful(one: Seen) -> Any:
    """The one-sided bound of guardrails: b is above a beyond doubt."""
    gap, variance, _n, _m, balanced = one
    return gap > sequential.one_sided_width(variance, balanced, ALPHA)


def z_test(one: Seen) -> Any:
    return np.abs(one[0]) > 1.959964 * np.sqrt(one[1])


def bayes(one: Seen) -> Any:
    """P(B > A) above 95 % either way, in the normal approximation of the posterior."""
    return np.abs(one[0]) > 1.644854 * np.sqrt(one[1])


def every(step: int, rule: Callable[[Seen], Any]) -> Callable[[Seen], Any]:
    return lambda one: rule(one) & (np.arange(1, one[0].shape[1] + 1) % step == 0)


RULES: dict[str, Callable[[Seen], Any]] = {
    "z test, after every unit": z_test,
    "z test, every 100 units": every(100, z_test),
    "z test, once, at the end": every(UNITS, z_test),
    "Bayes P > 95 %, every 100": every(100, bayes),
    "always-valid, every unit": always_valid,
}
DATA: dict[str, tuple[Draw, Draw, bool]] = {
    "rates, 10 % and 13 %": (rates(0.10), rates(0.13), True),
    "means, 0.094 deviations": (normal(0.0), normal(SHIFT), False),
}
EQUAL: dict[str, tuple[Draw, bool]] = {
    "rate 1 %": (rates(0.01), True),
    "rate 10 %": (rates(0.10), True),
    "rate 95 %": (rates(0.95), True),
    "normal": (normal(0.0), False),
    "lognormal, sigma 1": (skewed(1.0), False),
}


def several_votes(runs: int, *, users: int = 1500, votes: int = 5, seed: int = 0) -> list[float]:
    """False winners of equal arms when users cast several votes: (each a unit, summed by user, one voice a user)."""
    rng = np.random.default_rng(seed)
    n = np.arange(1.0, users + 1)
    wrong = np.zeros(3)
    for _start in range(0, runs, 100):
        arms = []
        for _arm in range(2):
            x = rng.integers(1, votes + 1, (100, users)).astype(float)
            y = rng.binomial(x.astype(int), rng.beta(1.4, 0.6, (100, users))).astype(float)
            mean = y / x
            arms.append([np.cumsum(one, axis=1)[:, 1:] for one in (y, y * y, x, x * x, y * x, mean, mean * mean)])
        (ya, _, xa, *_rest), (yb, _, xb, *_rest) = arms
        m = n[1:]
        by_vote = (yb / xb - ya / xa, sequential.spread_of_rates(xa, ya, xb, yb), xa, xb, sequential.balanced(xa, xb))
        found = [by_vote]
        for (ta, qa), (tb, qb) in (
            [sequential.ratio_sums(m, *arm[:5]) for arm in arms],
            [(arm[5], arm[6]) for arm in arms],
        ):
            found.append((tb / m - ta / m, sequential.spread_of_means(m, ta, qa, m, tb, qb), m, m, m))
        wrong += [np.isfinite(stops(iter([one]), always_valid)).sum() for one in found]
    return [float(share) for share in wrong / runs]


def ratio_alarms(p: float, runs: int, *, units: int = 10_000, seed: int = 0) -> tuple[float, float, float]:
    """Share of experiments in which an even split with true share p is called broken: (watched, at the end, once)."""
    rng = np.random.default_rng(seed)
    watched = last = once = 0
    for _run in range(runs):
        k = np.cumsum(rng.random(units) < p)
        looks = [*range(100, units, 100), units]
        broken = [
            allocation.ratio_check({"a": int(k[n - 1]), "b": n - int(k[n - 1])}, {"a": 0.5, "b": 0.5}) for n in looks
        ]
        watched += any(check.broken for check in broken)
        last += broken[-1].broken
        once += broken[-1].once < allocation.MISMATCH_ONCE
    return watched / runs, last / runs, once / runs


def promoted(a: float, b: float, runs: int, looks: tuple[int, ...], *, seed: int = 0) -> tuple[int, int]:
    """(experiments that named b the winner at some look, those that said anything before 100 votes per arm)."""
    rng = np.random.default_rng(seed)
    design = Design({"a": 0.5, "b": 0.5}, (Metric("good", "rate"),))
    won = hasty = 0
    for _run in range(runs):
        x, y = (np.cumsum(rng.random(looks[-1]) < p) for p in (a, b))
        for n in looks:
            sums = {"good": {arm: Sums(n, float(k[n - 1]), float(k[n - 1])) for arm, k in (("a", x), ("b", y))}}
            said = judge(design, {"a": n, "b": n}, sums)
            hasty += n < design.least and said.decision != "not enough data"
            if said.decision == "winner" and said.arm == "b":
                won += 1
                break
    return won, hasty


def run(runs: int = 2000) -> None:
    _compare_rules(runs)
    _equal_arms(runs)
    by_vote, by_user, by_voice = several_votes(runs)
    print("\nusers with 1 to 5 votes each, equal arms, always-valid")
    print(f"  false winners: {by_vote:.1%} when each vote is a unit, {by_user:.1%} when they are summed by user,")
    print(f"  {by_voice:.1%} when each user has one voice")
    print("\nsample ratio, meant to be even, 10,000 units   watched   at the end   chi-square, once")
    for share in (0.5, 0.53):
        print(f"  truly {share:.0%}{'':33}" + "".join(f"{found:11.2%}" for found in ratio_alarms(share, runs // 2)))
    looks = (20, 50, 99, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000)
    started = time.perf_counter()
    won, hasty = promoted(0.75, 0.70, runs // 2, looks)
    seconds = time.perf_counter() - started
    print(f"\na candidate 5 points worse (75 % and 70 %), {len(looks)} looks up to 2,000 votes per arm:")
    print(f"  promoted in {won} of {runs // 2} experiments; said anything below 100 votes in {hasty}")
    print(f"  at most {seconds / (runs // 2 * len(looks)) * 1000:.1f} ms a look")


def _compare_rules(runs: int) -> None:
    for name, (a, b, rate) in DATA.items():
        print(f"\n{name}, {runs:,} experiments each, up to {UNITS:,} units per arm")
        print(f"  {'':28} false winners   power   mean units   of {UNITS:,}   of a fixed sample of that power")
        for rule_name, rule in RULES.items():
            wrong = np.isfinite(stops(seen(a, a, runs, rate=rate, seed=1), rule)).mean()
            found = stops(seen(a, b, runs, rate=rate, seed=2), rule)
            power, mean = min(float(np.isfinite(found).mean()), 0.999), np.minimum(found, UNITS).mean()
            if wrong > 2 * ALPHA:
                print(f"  {rule_name:28} {wrong:13.1%}       -   (stops too easily for the rest to mean anything)")
                continue
            same = (
                fixed.sample_size(0.10, 0.03, power=power)
                if rate
                else fixed.sample_size_of_mean(SHIFT, 1.0, power=power)
            )
            print(
                f"  {rule_name:28} {wrong:13.1%} {power:7.1%} {mean:12,.0f} {mean / UNITS:10.0%}"
                f" {mean / same:14.0%} of {same:,}"
            )


def _equal_arms(runs: int) -> None:
    print(f"\nequal arms, always-valid, {runs // 2:,} experiments, up to 2,000 units per arm")
    print("  false winners, and false alarms of a guardrail from 50 units on")
    print(f"  {'':22} even split        b has a tenth     a has a tenth")
    for name, (draw, rate) in EQUAL.items():
        cells = []
        for share in (0.5, 0.1, 0.9):
            wrong = np.isfinite(
                stops(seen(draw, draw, runs // 2, rate=rate, share=share, units=2000), always_valid)
            ).mean()
            alarms = np.isfinite(
                stops(seen(draw, draw, runs // 2, rate=rate, share=share, units=2000), harmful, 50)
            ).mean()
            cells.append(f"{wrong:6.1%} {alarms:6.1%}")
        print(f"  {name:22}" + "     ".join(cells))
