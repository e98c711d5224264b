"""Always-valid inference: against other implementations, and by simulation with a look after every unit.

The simulations are those of `bench/experiments.py`: the product's own formulas on arrays, seeded.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from bench.experiments import (
    SHIFT,
    UNITS,
    always_valid,
    bayes,
    every,
    harmful,
    normal,
    rates,
    seen,
    several_votes,
    skewed,
    stops,
    z_test,
)
from tests.choose.sums import joint, of, rate
from tuneloop.choose import sequential
from tuneloop.choose.sequential import Joint, Sums

SOAK = pytest.mark.soak

# --- formulas


def test_the_boundary_is_the_published_one() -> None:
    """Vectors of confseq's own tests (test/uniform_boundaries_unittest.cpp): tuned at 100, alpha 0.05, v = 100."""
    assert 1 / sequential.mixture_rho(0.05, 100) == pytest.approx(12.60056, abs=1e-5)
    assert 100 * sequential.half_width(1 / 100, 100, 0.05, tuned_at=100) == pytest.approx(30.35209, abs=1e-5)
    one_sided = 100 * sequential.one_sided_width(1 / 100, 100, 0.05, tuned_at=100)
    assert 27.66071 <= one_sided <= 27.66071 * 1.005  # theirs inverts the mixture itself, ours bounds it
    log_ratio = -math.log(sequential.msprt_p(40.0, 100.0, 100 * 100 / 12.60056))
    assert log_ratio == pytest.approx(0.5 * math.log(12.60056 / 112.60056) + 40**2 / (2 * 112.60056), abs=1e-5)


def test_means_and_ratios_are_those_of_growthbook() -> None:
    """gbstats 0.8.0, SequentialTwoSidedTTest, absolute, tuned at 2,000 units of both arms together."""
    found = sequential.difference(Sums(1000, 5000.0, 29000.0), Sums(1000, 5300.0, 32500.0))
    assert (found.low, found.high) == pytest.approx((0.021513688073769133, 0.5784863119262305), rel=1e-9)
    assert found.p == pytest.approx(0.025934265276481953, rel=1e-9)
    a = Joint(Sums(1000, 2000.0, 6000.0), Sums(1000, 5000.0, 29000.0), 12000.0)
    b = Joint(Sums(1000, 2300.0, 7400.0), Sums(1000, 5000.0, 29500.0), 13000.0)
    assert sequential.ratio(a).variance == pytest.approx(0.04164164164164166, rel=1e-9)
    found = sequential.difference(sequential.ratio(a), sequential.ratio(b))
    assert (found.low, found.high) == pytest.approx((0.028311924341837366, 0.09168807565816263), rel=1e-9)
    assert found.p == pytest.approx(1.276816006611162e-06, rel=1e-9)
    found = sequential.difference(rate(100, 1000), rate(140, 1000), rate=True)  # theirs without imagined units
    assert (found.low, found.high) == pytest.approx((-0.004026, 0.084026), abs=5e-4)
    assert found.p == pytest.approx(0.10210694, rel=0.05)


def test_the_mixture_test_is_its_integral() -> None:
    for gap, variance, tau2 in ((0.3, 0.01, 0.04), (1.0, 0.5, 0.1), (0.05, 0.0004, 0.001)):
        spread = math.sqrt(tau2)
        bayes_factor, _error = integrate.quad(
            lambda theta, gap=gap, variance=variance, spread=spread: (
                stats.norm.pdf(gap, theta, math.sqrt(variance)) * stats.norm.pdf(theta, 0, spread)
            ),
            -10 * spread,
            10 * spread,
            limit=200,
        )
        expected = min(1.0, stats.norm.pdf(gap, 0, math.sqrt(variance)) / bayes_factor)
        assert sequential.msprt_p(gap, variance, tau2) == pytest.approx(expected, rel=1e-6)


def test_the_width_is_the_form_under_which_gavi_is_quoted() -> None:
    n, s2, alpha = 700.0, 0.21, 0.05
    r = 1 / sequential.mixture_rho(alpha)
    gavi = math.sqrt(s2 * (n + r) / n**2 * math.log((n + r) / (r * alpha**2)))
    assert sequential.half_width(s2 / n, n, alpha) == pytest.approx(gavi, rel=1e-12)


def test_one_sided_bounds_keep_the_half_normal_mixture() -> None:
    for n in (50.0, 1000.0, 100_000.0):
        width = sequential.one_sided_width(1 / n, n, 0.05)
        time = n * sequential.mixture_rho(0.1)
        u = width * math.sqrt(n * time / (time + 1))
        mixture = 2 / math.sqrt(time + 1) * math.exp(u * u / 2) * stats.norm.cdf(u)
        assert 1 / 0.05 <= mixture <= 1.1 / 0.05
        assert width < sequential.half_width(1 / n, n, 0.05)


counts = st.integers(1, 500)


@given(counts, counts, st.floats(0, 1), st.floats(0, 1), st.sampled_from((0.001, 0.05, 0.2)))
def test_intervals_and_p_values_say_the_same(n: int, m: int, p: float, q: float, alpha: float) -> None:
    a, b = rate(round(p * n), n), rate(round(q * m), m)
    found = sequential.difference(a, b, alpha, rate=True)
    assert found.low <= found.estimate <= found.high and 0 <= found.p <= 1
    assert (found.p < alpha) == found.excludes_zero or found.p == pytest.approx(alpha, rel=1e-9)
    mirrored = sequential.difference(b, a, alpha, rate=True)
    assert (mirrored.low, mirrored.high, mirrored.p) == pytest.approx((-found.high, -found.low, found.p))
    bound = sequential.at_least(a, b, alpha, margin=0.1, rate=True)
    assert (bound.p < alpha) == (bound.low > 0.1) or bound.p == pytest.approx(alpha, rel=1e-9)
    assert bound.high == math.inf and bound.low <= bound.estimate


@given(st.floats(1e-9, 1e9))
def test_the_unit_of_a_metric_does_not_matter(scale: float) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.exponential(1.0, 300), rng.exponential(1.4, 300)
    plain, scaled = sequential.difference(of(x), of(y)), sequential.difference(of(x * scale), of(y * scale))
    assert scaled.p == pytest.approx(plain.p, rel=1e-6)
    assert scaled.high == pytest.approx(plain.high * scale, rel=1e-6)


@pytest.mark.parametrize(("a", "b"), [(Sums(0, 0, 0), rate(3, 9)), (of(np.ones(1)), of(np.ones(1)))])
def test_too_little_says_nothing(a: Sums, b: Sums) -> None:
    found = sequential.difference(a, b)
    assert (found.low, found.high, found.p) == (-math.inf, math.inf, 1.0)
    assert sequential.at_least(a, b).low == -math.inf


def test_values_that_never_vary_are_no_reason_to_divide_by_zero() -> None:
    same = of(np.full(200, 7.0))
    assert not sequential.difference(same, same).excludes_zero
    zeros = of(np.zeros(200))
    assert sequential.difference(zeros, zeros).p == 1.0


# --- users with several values


def test_values_are_summed_by_user() -> None:
    found = sequential.joint_of([("anna", 1.0), ("boris", 0.0), ("anna", 0.0), ("", 1.0), ("", 1.0)])
    assert (found.y, found.x) == (Sums(4, 3.0, 3.0), Sums(4, 5.0, 7.0))
    assert found.products == 1 * 2 + 0 * 1 + 1 + 1
    assert sequential.ratio(found).mean == pytest.approx(3 / 5)
    assert sequential.ratio(sequential.joint_of([])) == Sums(0, 0.0, 0.0)


def test_everybody_has_one_voice() -> None:
    votes = [("troll", 1.0)] * 250 + [("anna", 0.0), ("boris", 1.0), ("boris", 0.0), ("", 0.0)]
    assert sequential.voices_of(votes) == Sums(4, 1.5, 1.25)
    assert sequential.voices_of([]) == Sums(0, 0.0, 0.0)


def test_one_value_of_each_user_is_an_ordinary_mean() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(3, 2, 400)
    found = sequential.ratio(sequential.joint_of((f"u{n}", value) for n, value in enumerate(values)))
    assert (found.mean, found.variance) == pytest.approx((of(values).mean, of(values).variance))


def test_the_variance_of_a_ratio_is_what_resampling_users_gives() -> None:
    rng = np.random.default_rng(9)
    x = rng.poisson(4, 2000) + 1.0
    y = rng.binomial(x.astype(int), rng.beta(2, 2, 2000)).astype(float)
    picks = rng.integers(0, 2000, (1500, 2000))
    resampled = y[picks].sum(axis=1) / x[picks].sum(axis=1)
    found = sequential.ratio(joint(y, x))
    assert found.mean == pytest.approx(y.sum() / x.sum())
    assert math.sqrt(found.variance / 2000) == pytest.approx(resampled.std(), rel=0.06)


def test_votes_of_one_user_counted_one_by_one_lie() -> None:
    by_vote, by_user, by_voice = several_votes(300)
    assert max(by_user, by_voice) <= 0.05
    assert by_vote > 0.12


# --- false winners, power and price


@pytest.mark.parametrize("runs", [400, pytest.param(2000, marks=SOAK)])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_equal_rates_looked_at_all_the_time_have_few_winners(p: float, runs: int) -> None:
    assert np.isfinite(stops(seen(rates(p), rates(p), runs, rate=True, seed=11), always_valid)).mean() <= 0.05


@pytest.mark.parametrize("runs", [400, pytest.param(2000, marks=SOAK)])
@pytest.mark.parametrize("draw", [normal(5.0), skewed(1.5)], ids=["normal", "lognormal"])
def test_equal_means_looked_at_all_the_time_have_few_winners(draw: object, runs: int) -> None:
    assert np.isfinite(stops(seen(draw, draw, runs, rate=False, seed=12), always_valid)).mean() <= 0.05  # type: ignore[arg-type]


@pytest.mark.parametrize("runs", [200, pytest.param(2000, marks=SOAK)])
@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize(("draw", "is_rate"), [(rates(0.05), True), (skewed(1.0), False)], ids=["rate", "lognormal"])
def test_unequal_arms_have_few_winners_and_few_alarms(draw: object, is_rate: bool, share: float, runs: int) -> None:
    for rule, first in ((always_valid, 100), (harmful, 50)):
        found = stops(seen(draw, draw, runs, rate=is_rate, share=share, units=2000, seed=13), rule, first)  # type: ignore[arg-type]
        assert np.isfinite(found).mean() <= 0.05


@pytest.mark.parametrize("runs", [400, pytest.param(2000, marks=SOAK)])
@pytest.mark.parametrize(
    ("a", "b", "is_rate"), [(rates(0.10), rates(0.13), True), (normal(0.0), normal(SHIFT), False)], ids=["rate", "mean"]
)
def test_a_real_effect_is_found_with_half_of_the_fixed_sample(a: object, b: object, is_rate: bool, runs: int) -> None:
    found = stops(seen(a, b, runs, rate=is_rate, seed=14), always_valid)  # type: ignore[arg-type]
    share = np.minimum(found, UNITS).mean() / UNITS
    print(f"power {np.isfinite(found).mean():.1%}, {share:.1%} of the fixed sample")
    assert np.isfinite(found).mean() >= 0.88
    assert share <= 0.55


def test_the_usual_rules_do_not_keep_their_word() -> None:
    """What the bench shows beside it: were these harmless, nobody would need the rest."""
    for rule, least in ((z_test, 0.3), (every(100, z_test), 0.2), (every(100, bayes), 0.35)):
        found = stops(seen(rates(0.1), rates(0.1), 200, rate=True, seed=15), rule)
        assert np.isfinite(found).mean() > least


def test_an_arm_that_does_harm_is_seen_soon() -> None:
    found = stops(seen(rates(0.01), rates(0.10), 200, rate=True, units=1000, seed=16), harmful, 20)
    assert np.isfinite(found).all() and np.median(found) <= 200


def test_means_are_covered_at_every_look() -> None:
    missed = 0
    for one in seen(skewed(1.0), lambda rng, shape: rng.lognormal(0.3, 1.0, shape), 200, rate=False, seed=17):
        gap, variance, _n, _m, balanced = one
        width = sequential.half_width(variance, balanced, 0.05)
        truth = math.exp(0.3 + 0.5) - math.exp(0.5)
        missed += int((np.abs(gap - truth) > width)[:, 99:].any(axis=1).sum())
    assert missed <= 0.05 * 200


def test_the_simulations_use_what_verdicts_use() -> None:
    rng = np.random.default_rng(18)
    x, y = rng.random(300) < 0.2, rng.random(300) < 0.3
    (one,) = seen(
        lambda _r, _s: x[None, :].astype(float), lambda _r, _s: y[None, :].astype(float), 1, rate=True, units=300
    )
    found = always_valid(one)
    for n in (2, 7, 50, 299):
        interval = sequential.difference(rate(x[:n].sum(), n), rate(y[:n].sum(), n), rate=True)
        assert interval.excludes_zero == found[0, n - 1]


@pytest.mark.parametrize("gap", [0.05, -0.1])
def test_units_needed_are_enough_four_times_in_five(gap: float) -> None:
    p = 0.3
    variance = p * (1 - p) + (p + gap) * (1 - p - gap)
    n = sequential.units_needed(gap, variance, 0.05)
    rng = np.random.default_rng(19)
    found = [
        sequential.difference(rate(x, n), rate(y, n), rate=True).excludes_zero
        for x, y in zip(rng.binomial(n, p, 800), rng.binomial(n, p + gap, 800), strict=True)
    ]
    assert 0.76 <= np.mean(found) <= 0.84
    assert sequential.units_needed(1e-9, variance, 0.05) == 0
