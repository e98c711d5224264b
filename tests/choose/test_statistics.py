"""The figures behind verdicts, against other implementations and by simulation.

The simulations use the product's own functions, look after every unit of both arms, and are seeded.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tuneloop.choose import adjust, allocation, bayes, exact, fixed, sequential
from tuneloop.choose.sequential import Sums
from tuneloop.choose.verdict import Design, Metric, judge


def rate(hits: float, n: int) -> Sums:
    return Sums(n, hits, hits)


def of(values: NDArray[np.float64]) -> Sums:
    return Sums(values.size, float(values.sum()), float(values @ values))


# --- fixed-horizon tests


def test_z_welch_and_fisher_agree_with_scipy() -> None:
    from scipy import stats

    a, b = rate(120, 1000), rate(155, 1000)
    table = stats.chi2_contingency([[120, 880], [155, 845]], correction=False)
    assert fixed.rate_difference(a, b).p == pytest.approx(table.pvalue, rel=1e-9)
    rng = np.random.default_rng(3)
    x, y = rng.normal(5, 2, 80), rng.normal(5.6, 3, 120)
    theirs = stats.ttest_ind(y, x, equal_var=False)
    ours = fixed.mean_difference(of(x), of(y))
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert fixed.fisher(rate(3, 12), rate(9, 14)) == pytest.approx(stats.fisher_exact([[3, 9], [9, 5]]).pvalue)


def test_newcombe_gives_the_published_interval() -> None:
    """Newcombe 1998, Statistics in Medicine 17:873, table II, method 10: 56/70 - 48/80."""
    low, high = fixed.newcombe(rate(48, 80), rate(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-4)


def test_sample_size_is_the_textbook_one() -> None:
    assert fixed.sample_size(0.10, 0.03, power=0.8) == pytest.approx(1771, abs=5)


def test_quantiles_by_bootstrap_find_a_slower_tail() -> None:
    rng = np.random.default_rng(1)
    fast, slow = rng.exponential(1, 800), rng.exponential(2, 800)
    found = fixed.quantile_difference(list(fast), list(slow), 0.95)
    assert found.low > 0
    assert fixed.quantile_difference(list(fast), list(rng.exponential(1, 800)), 0.95).low < 0


# --- always-valid inference


def looks(a: NDArray[np.bool_], b: NDArray[np.bool_], least: int = 100) -> NDArray[np.bool_]:
    """(runs, n): whether the confidence sequence excludes zero after each unit per arm. Vectorised `difference`."""
    n = np.arange(1, a.shape[1] + 1)
    totals = np.cumsum(a, axis=1), np.cumsum(b, axis=1)
    rho = sequential.mixture_rho(0.05, sequential.TUNED_AT)
    spread = np.zeros(a.shape)
    for total in totals:
        mean = total / n
        variance = mean * (1 - mean) * n / np.maximum(n - 1, 1)
        spread += np.where(variance * n < 0.5, (variance * (n - 1) + 0.5) / n / n, variance / n)
    width = np.sqrt(spread * n) * np.sqrt((n * rho + 1) / rho * np.log((n * rho + 1) / 0.05**2)) / n
    return (np.abs(totals[1] - totals[0]) / n > width) & (n >= least)


def arms(p: float, q: float, n: int, runs: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    return rng.random((runs, n)) < p, rng.random((runs, n)) < q


def test_the_vectorised_looks_are_the_products_own() -> None:
    a, b = arms(0.2, 0.3, 400, 3, 5)
    found = looks(a, b, least=2)
    for run in range(3):
        for n in (2, 7, 50, 399):
            interval = sequential.difference(rate(a[run, :n].sum(), n), rate(b[run, :n].sum(), n))
            assert interval.excludes_zero == found[run, n - 1]


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_equal_arms_looked_at_all_the_time_have_few_winners(p: float) -> None:
    a, b = arms(p, p, 3000, 400, 11)
    assert looks(a, b).any(axis=1).mean() <= 0.05


@pytest.mark.soak
def test_two_thousand_equal_experiments_have_few_winners() -> None:
    a, b = arms(0.1, 0.1, 5000, 2000, 12)
    share = looks(a, b).any(axis=1).mean()
    print(f"false winners of 2,000 equal experiments, looked at after every unit: {share:.2%}")
    assert share <= 0.05


def test_a_real_effect_is_found_with_about_half_of_the_fixed_sample() -> None:
    a, b = arms(0.10, 0.13, 4000, 400, 13)
    hit = looks(a, b)
    stop = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 4000)
    assert hit.any(axis=1).mean() >= 0.88
    assert stop.mean() <= 0.55 * 4000


def test_means_are_covered_at_every_look() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _run in range(200):
        x, y = rng.exponential(1, 600), rng.exponential(1.3, 600)
        missed += any(
            not (found := sequential.difference(of(x[:n]), of(y[:n]))).low <= 0.3 <= found.high
            for n in range(50, 600, 10)
        )
    assert missed <= 0.05 * 200


def test_bounded_values_are_covered_from_the_first_on() -> None:
    rng = np.random.default_rng(4)
    missed = 0
    for _run in range(300):
        x = rng.beta(0.4, 0.6, 300)
        bounds = [exact.bernstein_bounds(of(x[:n]), 0.05) for n in range(1, 300, 3)]
        missed += not all(low <= 0.4 <= high for low, high in bounds)
    assert missed <= 0.05 * 300


def test_a_ratio_metric_is_covered() -> None:
    rng = np.random.default_rng(6)
    missed = 0
    for _run in range(200):
        found = []
        for level in (2.0, 2.5):
            bottom = rng.poisson(5, 400) + 1.0
            top = bottom * level + rng.normal(0, 1, 400)
            found.append(sequential.ratio(sequential.Joint(of(top), of(bottom), float(top @ bottom))))
        interval = sequential.difference(found[0], found[1])
        missed += not interval.low <= 0.5 <= interval.high
    assert missed <= 0.05 * 200


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_any_counts_give_an_interval_around_the_estimate(n: int, m: int, x: int, y: int) -> None:
    a, b = rate(min(x, n), n), rate(min(y, m), m)
    if n and m:
        found = sequential.difference(a, b)
        assert found.low <= found.estimate <= found.high
        assert 0 <= found.p <= 1
        mirrored = sequential.difference(b, a)
        assert mirrored.estimate == pytest.approx(-found.estimate)
    reading = bayes.read(a, b)
    assert 0 <= reading.better <= 1 and reading.loss >= 0


def test_p_below_alpha_is_an_interval_without_zero() -> None:
    for hits in range(100, 200, 3):
        found = sequential.difference(rate(100, 1000), rate(hits, 1000))
        assert (found.p < 0.05) == found.excludes_zero or abs(found.p - 0.05) < 0.02


# --- corrections and allocation


def test_holm_is_the_published_procedure() -> None:
    assert adjust.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )


def test_cuped_takes_out_what_was_known_and_leaves_the_difference() -> None:
    rng = np.random.default_rng(8)
    data = {}
    for name, lift in (("a", 0.0), ("b", 0.5)):
        before = rng.normal(10, 3, 4000)
        data[name] = (list(before + rng.normal(lift, 1, 4000)), list(before))
    adjusted, removed = adjust.cuped(data)
    assert removed == pytest.approx(0.9, abs=0.02)
    assert adjusted["b"].mean() - adjusted["a"].mean() == pytest.approx(0.5, abs=0.08)
    assert adjusted["a"].std() < 1.1


def test_a_wrong_division_is_seen_and_a_right_one_is_left_alone() -> None:
    even = {"a": 0.5, "b": 0.5}
    rng = np.random.default_rng(9)
    alarms = sum(
        allocation.ratio_check({"a": k, "b": 10_000 - k}, even).broken for k in rng.binomial(10_000, 0.5, 3000)
    )
    assert alarms <= 0.001 * 3000 + 3
    seen = sum(allocation.ratio_check({"a": k, "b": 10_000 - k}, even).broken for k in rng.binomial(10_000, 0.53, 300))
    assert seen >= 0.95 * 300


def test_thompson_shares_sum_to_one_and_keep_the_floor() -> None:
    found = allocation.top_two({"a": rate(90, 100), "b": rate(10, 100), "c": rate(85, 100)}, seed=1)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) == pytest.approx(allocation.FLOOR, abs=0.01) == pytest.approx(found["b"], abs=0.01)
    assert found["a"] > 0.3 and found["c"] > 0.2


def test_one_person_counts_a_few_times_only() -> None:
    votes = [("troll", 0.0)] * 250 + [("anna", 1.0), ("boris", 1.0)]
    assert len(allocation.capped(votes, 5)) == 7
    assert allocation.capped([("x", 1.0), ("x", 0.0)], 1) == [("x", 0.0)]  # the latest


# --- verdicts

GOAL = Metric("ok", "rate", "up")
FENCE = Metric("errors", "rate", "down", "guardrail", margin=0.01)


def said(a: Sums, b: Sums, metrics: tuple[Metric, ...] = (GOAL,), **design: object) -> str:
    sums = {metric.name: {"a": a, "b": b} for metric in metrics}
    found = judge(Design({"a": 0.5, "b": 0.5}, metrics, **design), {"a": a.n, "b": b.n}, sums)  # type: ignore[arg-type]
    return found.decision + (f" {found.arm}" if found.arm else "")


def test_verdicts() -> None:
    assert said(rate(100, 1000), rate(200, 1000)) == "winner b"
    assert said(rate(200, 1000), rate(100, 1000)) == "winner a"
    assert said(rate(100, 1000), rate(104, 1000)) == "not enough data"
    assert said(rate(5, 20), rate(19, 20)) == "not enough data"
    assert said(rate(100, 1000), rate(200, 1400)) == "withheld"
    wide = Metric("ok", "rate", "up", margin=0.05)
    assert said(rate(50_000, 100_000), rate(50_100, 100_000), (wide,)) == "no difference"
    assert said(rate(100, 1000), rate(160, 1000), method="fixed", planned=2000) == "not enough data"
    assert said(rate(100, 1000), rate(160, 1000), method="fixed", planned=1000) == "winner b"
    assert said(rate(100, 1000), rate(300, 1000), method="bayes") == "not enough data"  # a reading ends nothing


def test_a_broken_guardrail_is_said_at_once_and_first() -> None:
    sums = {"ok": {"a": rate(10, 60), "b": rate(50, 60)}, "errors": {"a": rate(0, 60), "b": rate(40, 60)}}
    found = judge(Design({"a": 0.5, "b": 0.5}, (GOAL, FENCE)), {"a": 60, "b": 60}, sums)
    assert (found.decision, found.arm) == ("roll back", "b")


@pytest.mark.parametrize("runs", [150, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_candidate_five_points_worse_is_almost_never_promoted(runs: int) -> None:
    rng = np.random.default_rng(21)
    promoted = 0
    for _run in range(runs):
        for n in (100, 200, 400, 800):
            a, b = rate(rng.binomial(n, 0.75), n), rate(rng.binomial(n, 0.70), n)
            promoted += said(a, b) == "winner b"
    assert promoted <= runs // 100


def test_more_metrics_do_not_mean_more_false_winners() -> None:
    rng = np.random.default_rng(22)
    metrics = tuple(Metric(f"m{i}", "rate") for i in range(10))
    winners = 0
    for _run in range(60):
        sums = {m.name: {arm: rate(rng.binomial(500, 0.3), 500) for arm in "ab"} for m in metrics}
        winners += judge(Design({"a": 0.5, "b": 0.5}, metrics), {"a": 500, "b": 500}, sums).decision == "winner"
    assert winners <= 0.05 * 60


def test_the_estimate_of_what_remains_is_about_right() -> None:
    found = judge(Design({"a": 0.5, "b": 0.5}, (GOAL,)), {"a": 500, "b": 500},
                  {"ok": {"a": rate(150, 500), "b": rate(180, 500)}})  # fmt: skip
    assert found.decision == "not enough data" and found.more > 0
    n = 500 + 2 * found.more
    assert said(rate(0.30 * n, n), rate(0.36 * n, n)) == "winner b"
    assert math.isfinite(found.more)
