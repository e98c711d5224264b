"""Shares of arms, checked and chosen, and how much one person counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.experiments import ratio_alarms
from tests.choose.sums import rate
from tuneloop.choose import allocation
from tuneloop.choose.sequential import Sums

EVEN = {"a": 0.5, "b": 0.5}


def test_the_ratio_test_is_the_dirichlet_multinomial() -> None:
    counts, shares = [430, 260, 310], [0.4, 0.3, 0.3]
    found = allocation.ratio_check(dict(zip("abc", counts, strict=True)), dict(zip("abc", shares, strict=True)))
    fine, gross = (stats.dirichlet_multinomial.pmf(counts, k * np.array(shares), 1000) for k in (allocation.PRIOR, 3.0))
    mixture = (1 - allocation.DEAD) * fine + allocation.DEAD * gross
    assert found.p == pytest.approx(min(1.0, stats.multinomial.pmf(counts, 1000, shares) / mixture))
    assert found.once == pytest.approx(stats.chisquare(counts, [400, 300, 300]).pvalue)


def test_weights_need_not_sum_to_one() -> None:
    counts = {"a": 700, "b": 300}
    assert allocation.ratio_check(counts, {"a": 7, "b": 3}) == allocation.ratio_check(counts, {"a": 0.7, "b": 0.3})
    assert not allocation.ratio_check(counts, {"a": 7, "b": 3}).broken


@pytest.mark.parametrize("counts", [{}, {"a": 0, "b": 0}, {"elsewhere": 90}])
def test_nobody_is_no_fault(counts: dict[str, int]) -> None:
    assert allocation.ratio_check(counts, EVEN) == allocation.RatioCheck(1.0, False)


def test_a_dead_arm_is_seen_after_a_dozen() -> None:
    assert not allocation.ratio_check({"a": 8, "b": 0}, EVEN).broken
    assert allocation.ratio_check({"a": 20, "b": 0}, EVEN).broken


def test_53_to_47_is_found_by_ten_thousand() -> None:
    rng = np.random.default_rng(31)
    found = [allocation.ratio_check({"a": k, "b": 10_000 - k}, EVEN).broken for k in rng.binomial(10_000, 0.53, 1000)]
    assert np.mean(found) >= 0.94  # at one look; watched all the time 98 %
    assert allocation.ratio_check({"a": 5300, "b": 4700}, EVEN).p < 1e-4


@pytest.mark.parametrize("runs", [150, pytest.param(3000, marks=pytest.mark.soak)])
def test_a_fair_split_that_is_watched_raises_no_alarm(runs: int) -> None:
    watched, last, _once = ratio_alarms(0.5, runs, seed=32)
    assert watched <= max(0.001, 0.5 / runs) and last <= watched
    assert ratio_alarms(0.53, runs // 3, seed=33)[0] >= 0.94


# --- bandits


def test_top_two_gives_the_contender_traffic_and_nobody_less_than_the_floor() -> None:
    found = allocation.top_two({"a": rate(90, 100), "b": rate(10, 100), "c": rate(85, 100)}, seed=1)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) == found["b"] == pytest.approx(allocation.FLOOR, abs=0.01)
    assert found["a"] > 0.3 and found["c"] > 0.2


def test_a_leader_beyond_doubt_keeps_half() -> None:
    """Top-two's mark: it goes on comparing with the best challenger, here c."""
    found = allocation.top_two({"a": rate(9000, 10_000), "b": rate(10, 100), "c": rate(50, 100)}, seed=1, floor=0.0)
    assert found["a"] == pytest.approx(0.5, abs=0.01) and found["c"] > 0.45


@given(
    st.lists(st.tuples(st.integers(0, 50), st.floats(-5, 60)), min_size=1, max_size=20),
    st.integers(0, 9),
    st.floats(0, 1),
)
def test_propensities_are_a_distribution_whatever_is_reported(
    arms: list[tuple[int, float]], seed: int, floor: float
) -> None:
    given_arms = {f"arm{i}": Sums(n, total, abs(total)) for i, (n, total) in enumerate(arms)}
    found = allocation.top_two(given_arms, seed=seed, draws=50, floor=floor)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= min(floor, 1 / len(arms)) - 1e-12


def test_a_bandit_ends_up_with_the_best_and_never_stops_looking() -> None:
    rng = np.random.default_rng(34)
    truth = {"a": 0.5, "b": 0.6, "c": 0.4}
    hits, n = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for step in range(60):
        shares = allocation.top_two({arm: rate(hits[arm], n[arm]) for arm in truth}, seed=step, draws=500)
        for arm, count in zip(truth, rng.multinomial(100, list(shares.values())), strict=True):
            n[arm] += int(count)
            hits[arm] += int(rng.binomial(count, truth[arm]))
    assert max(n, key=lambda arm: n[arm]) == "b" and n["b"] > 2400
    assert min(n.values()) >= 0.8 * allocation.FLOOR * 6000


# --- one person


def test_one_person_counts_a_few_times_only() -> None:
    votes = [("troll", 0.0)] * 250 + [("anna", 1.0), ("boris", 1.0)]
    assert len(allocation.capped(votes, 5)) == 7
    assert allocation.capped([("x", 1.0), ("x", 0.0)], 1) == [("x", 0.0)]  # the latest


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=40), st.integers(1, 6))
def test_a_cap_keeps_order_and_the_latest(votes: list[tuple[str, float]], cap: int) -> None:
    kept = allocation.capped(votes, cap)
    for user in "abc":
        mine = [vote for vote in votes if vote[0] == user]
        assert [vote for vote in kept if vote[0] == user] == mine[-cap:]
