"""One door from sums to a decision: what it says, what it refuses to say, and how often it is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.experiments import promoted
from tests.choose.sums import joint, of, rate
from tuneloop.choose import allocation, sequential
from tuneloop.choose.sequential import Joint, Sums
from tuneloop.choose.verdict import Design, ExperimentVerdict, Metric, judge

SOAK = pytest.mark.soak
EVEN = {"a": 0.5, "b": 0.5}
GOAL = Metric("ok", "rate", "up")
FENCE = Metric("errors", "rate", "down", "guardrail", margin=0.01)


def look(a: Any, b: Any, *metrics: Metric, n: int = 0, **design: Any) -> ExperimentVerdict:
    """a, b: the sums of today's arm and of another, the same for every metric."""
    asked = metrics or (GOAL,)
    units = {"a": n, "b": n} if n else {"a": a.n, "b": b.n}
    return judge(Design(EVEN, asked, **design), units, {metric.name: {"a": a, "b": b} for metric in asked})


def said(a: Any, b: Any, *metrics: Metric, **design: Any) -> str:
    found = look(a, b, *metrics, **design)
    return found.decision + (f" {found.arm}" if found.arm else "")


def test_verdicts() -> None:
    assert said(rate(100, 1000), rate(200, 1000)) == "winner b"
    assert said(rate(200, 1000), rate(100, 1000)) == "winner a"
    assert said(rate(100, 1000), rate(104, 1000)) == "not enough data"
    assert said(rate(5, 20), rate(19, 20)) == "not enough data"
    assert said(rate(100, 1000), rate(200, 1400)) == "withheld"
    assert said(rate(200, 1000), rate(100, 1000), Metric("ok", "rate", "down")) == "winner b"
    wide = Metric("ok", "rate", "up", margin=0.05)
    assert said(rate(50_000, 100_000), rate(50_100, 100_000), wide) == "no difference"
    assert said(rate(100, 1000), rate(160, 1000), method="fixed", planned=2000) == "not enough data"
    assert said(rate(100, 1000), rate(160, 1000), method="fixed", planned=1000) == "winner b"


def test_a_reading_ends_nothing_and_says_so() -> None:
    found = look(rate(100, 1000), rate(300, 1000), method="bayes")
    assert found.decision == "not enough data" and "Bayesian" in found.why
    (c,) = found.comparisons
    assert c.reading is not None and c.reading.better > 0.999 and "not for stopping" in c.reading.method
    assert not c.better


def test_every_number_states_its_method_and_the_whole_is_json() -> None:
    sums: dict[str, dict[str, Sums | Joint]] = {
        "ok": {"a": rate(500, 1000), "b": rate(520, 1000)},
        "seconds": {"a": Sums(1000, 1000.0, 1200.0), "b": Sums(1000, 1010.0, 1220.0)},
        "errors": {"a": rate(3, 1000), "b": rate(4, 1000)},
    }
    metrics = (GOAL, Metric("seconds", "mean", "down"), Metric("p95", "quantile", "down"), FENCE)
    values = {"p95": {"a": [0.1 * n for n in range(300)], "b": [0.1 * n for n in range(300)]}}
    found = judge(Design(EVEN, metrics), {"a": 1000, "b": 1000}, sums, values)
    plain = json.loads(json.dumps(dataclasses.asdict(found)))
    assert (plain["method"], plain["alpha"]) == ("always-valid", 0.05)
    assert "sample ratio" in plain["ratio"]["method"]
    for c in plain["comparisons"]:
        assert (
            c["interval"]["method"] and c["interval"]["alpha"] == 0.05 and c["interval"]["low"] <= c["interval"]["high"]
        )
    assert plain["comparisons"][2]["base"] == pytest.approx(28.405)
    assert "one-sided" in plain["comparisons"][3]["harm"]["method"]


# --- guardrails


def test_a_broken_guardrail_is_said_at_once_and_first() -> None:
    sums = {"ok": {"a": rate(10, 60), "b": rate(50, 60)}, "errors": {"a": rate(0, 60), "b": rate(40, 60)}}
    found = judge(Design(EVEN, (GOAL, FENCE)), {"a": 60, "b": 60}, sums)
    assert (found.decision, found.arm) == ("roll back", "b")
    assert [c.worse for c in found.comparisons] == [False, True]
    lopsided = judge(Design(EVEN, (GOAL, FENCE)), {"a": 60, "b": 500}, sums)
    assert (lopsided.decision, len(lopsided.notes)) == ("roll back", 1)  # the safe act, and the fault is named too


def test_a_guardrail_within_its_margin_does_not_stop_a_winner() -> None:
    """Slower beyond doubt, yet by less than was allowed."""
    slower = Metric("ms", "mean", "down", "guardrail", margin=50.0)
    rng = np.random.default_rng(1)
    sums = {
        "ok": {"a": rate(500, 1000), "b": rate(620, 1000)},
        "ms": {"a": of(rng.normal(100, 10, 1000)), "b": of(rng.normal(120, 10, 1000))},
    }
    assert judge(Design(EVEN, (GOAL, slower)), {"a": 1000, "b": 1000}, sums).decision == "winner"
    tight = dataclasses.replace(slower, margin=10.0)
    assert judge(Design(EVEN, (GOAL, tight)), {"a": 1000, "b": 1000}, sums).decision == "roll back"


def test_a_slower_tail_breaks_a_guardrail() -> None:
    rng = np.random.default_rng(2)
    fence = Metric("p95", "quantile", "down", "guardrail", margin=100.0)
    values = {"p95": {"a": rng.exponential(200, 1500).tolist(), "b": rng.exponential(500, 1500).tolist()}}
    sums: dict[str, dict[str, Sums | Joint]] = {"ok": {"a": rate(750, 1500), "b": rate(750, 1500)}}
    units = {"a": 1500, "b": 1500}
    assert judge(Design(EVEN, (GOAL, fence)), units, sums, values).decision == "roll back"
    values["p95"]["b"] = rng.exponential(200, 1500).tolist()
    assert judge(Design(EVEN, (GOAL, fence)), units, sums, values).decision == "not enough data"


def test_a_quality_that_must_not_fall_is_a_guardrail_too() -> None:
    rng = np.random.default_rng(3)
    fence = Metric("score", "mean", "up", "guardrail", low=0.0, high=1.0)
    good, bad = of(rng.beta(18, 2, 40)), of(rng.beta(4, 16, 40))
    assert said(good, bad, fence) == "roll back b"  # forty scores: exact bounds
    assert said(bad, good, fence) == "not enough data"
    unbounded = dataclasses.replace(fence, low=None, high=None)
    assert said(good, bad, unbounded) == "not enough data"  # of unknown values forty are too few


@pytest.mark.parametrize("runs", [60, pytest.param(600, marks=SOAK)])
def test_many_guardrails_and_arms_raise_few_false_alarms(runs: int) -> None:
    rng = np.random.default_rng(4)
    arms = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
    fences = tuple(Metric(f"f{i}", "rate", "down", "guardrail") for i in range(3))
    alarms = 0
    for _run in range(runs):
        hits = {f.name: {arm: np.cumsum(rng.random(600) < 0.05) for arm in arms} for f in fences}
        for n in (20, 40, 60, 99, 100, 150, 250, 400, 600):
            sums = {name: {arm: rate(int(k[n - 1]), n) for arm, k in found.items()} for name, found in hits.items()}
            if judge(Design(arms, fences), dict.fromkeys(arms, n), sums).decision == "roll back":
                alarms += 1
                break
    assert alarms <= max(1, 0.05 * runs)


# --- when it does not speak


@pytest.mark.parametrize("runs", [150, pytest.param(1000, marks=SOAK)])
def test_a_candidate_five_points_worse_is_almost_never_promoted(runs: int) -> None:
    won, hasty = promoted(0.75, 0.70, runs, (20, 50, 99, 100, 200, 400, 800), seed=5)
    assert won <= runs // 100
    assert hasty == 0  # below the least number of units there was no answer at all


def test_few_votes_among_many_units_are_few_votes() -> None:
    """A thousand people were asked, eight answered."""
    found = look(rate(0, 8), rate(8, 8), n=1000)
    assert found.decision == "not enough data"
    assert "8 units" in found.why and "ok" in found.why
    assert found.more == math.ceil(92 * 1000 / 8)
    assert look(rate(0, 0), rate(0, 0), n=1000).more == 0


def test_a_worse_answer_that_comes_faster_does_not_win_on_speed() -> None:
    """Speed is plain after a hundred calls, when nobody can know yet that five points of satisfaction are gone."""
    rng = np.random.default_rng(6)
    metrics = (Metric("good", "rate"), Metric("ms", "mean", "down"))
    won = 0
    for _run in range(40):
        a, b = np.cumsum(rng.random(800) < 0.75), np.cumsum(rng.random(800) < 0.70)
        slow, fast = rng.normal(900, 100, 800), rng.normal(600, 100, 800)
        for n in (100, 200, 400, 800):
            sums: dict[str, dict[str, Sums | Joint]] = {
                "good": {"a": rate(int(a[n - 1]), n), "b": rate(int(b[n - 1]), n)},
                "ms": {"a": of(slow[:n]), "b": of(fast[:n])},
            }
            won += judge(Design(EVEN, metrics), {"a": n, "b": n}, sums).decision == "winner"
    assert won == 0


def test_the_first_goal_decides_and_others_keep_their_margin() -> None:
    good, ms = Metric("good", "rate", margin=0.04), Metric("ms", "mean", "down")
    faster = {"a": Sums(20_000, 20_000.0, 24_000.0), "b": Sums(20_000, 15_000.0, 15_250.0)}
    same = {"a": rate(15_000, 20_000), "b": rate(15_010, 20_000)}
    units = {"a": 20_000, "b": 20_000}
    assert judge(Design(EVEN, (good, ms)), units, {"good": same, "ms": faster}).decision == "winner"
    plain = Metric("good", "rate")
    assert judge(Design(EVEN, (plain, ms)), units, {"good": same, "ms": faster}).decision == "not enough data"
    strict = Metric("ms", "mean", "down", margin=0.01)
    better = {"a": rate(15_000, 20_000), "b": rate(16_000, 20_000)}
    level = {"a": faster["a"], "b": Sums(20_000, 20_100.0, 24_200.0)}  # perhaps slower by more than 0.01
    assert judge(Design(EVEN, (plain, ms)), units, {"good": better, "ms": level}).decision == "winner"
    assert judge(Design(EVEN, (plain, strict)), units, {"good": better, "ms": level}).decision == "not enough data"


def test_better_in_one_and_worse_in_another_goal_is_for_people() -> None:
    metrics = (Metric("good", "rate"), Metric("cost", "mean", "down"))
    sums: dict[str, dict[str, Sums | Joint]] = {
        "good": {"a": rate(500, 1000), "b": rate(620, 1000)},
        "cost": {"a": Sums(1000, 1.0, 0.0012), "b": Sums(1000, 3.0, 0.0095)},
    }
    found = judge(Design(EVEN, metrics), {"a": 1000, "b": 1000}, sums)
    assert (found.decision, found.arm) == ("withheld", "")
    assert "good" in found.why and "cost" in found.why


@pytest.mark.parametrize("runs", [100, pytest.param(1000, marks=SOAK)])
def test_an_allocation_fault_withholds_the_verdict(runs: int) -> None:
    """A bug sends 53 of 100 one way, and the arm looks better for it."""
    rng = np.random.default_rng(7)
    withheld = 0
    for k in rng.binomial(10_000, 0.53, runs):
        found = look(rate(0.10 * k, int(k)), rate(0.14 * (10_000 - k), int(10_000 - k)))
        withheld += found.decision == "withheld"
        assert found.decision in ("withheld", "winner")
    assert withheld >= 0.94 * runs


# --- attacks


def attacked(runs: int, *, attackers: int, cap: int, truth: float = 0.70) -> int:
    """Promotions of b when 250 votes for it come from a few people: everybody else votes once."""
    rng = np.random.default_rng(8)
    won = 0
    for _run in range(runs):
        honest = {
            arm: [(f"{arm}{i}", float(rng.random() < p)) for i in range(600)] for arm, p in (("a", 0.70), ("b", truth))
        }
        lies = [(f"liar{i % attackers}", 1.0) for i in range(250)]
        for n in (100, 150, 200, 300, 450, 600):
            votes = {"a": honest["a"][:n], "b": [*honest["b"][: n - attackers], *lies]}
            sums = {"ok": {arm: sequential.voices_of(allocation.capped(found, cap)) for arm, found in votes.items()}}
            found = judge(Design(EVEN, (GOAL,)), {"a": n, "b": n}, sums)
            if found.decision == "winner" and found.arm == "b":
                won += 1
                break
    return won


@pytest.mark.parametrize("attackers", [1, 10])
@pytest.mark.parametrize("runs", [25, pytest.param(300, marks=SOAK)])
def test_a_few_people_with_250_votes_promote_nothing(attackers: int, runs: int) -> None:
    assert attacked(runs, attackers=attackers, cap=5, truth=0.65) == 0
    assert attacked(runs, attackers=attackers, cap=5) <= 0.03 * runs
    naive = rate(70 + 0, 100), rate(65 + 250, 100 + 250)
    assert look(*naive, n=100).arm == "b"  # what they would do without the cap


# --- several metrics, arms, kinds of data


@pytest.mark.parametrize("runs", [60, pytest.param(1000, marks=SOAK)])
def test_more_metrics_do_not_mean_more_false_winners(runs: int) -> None:
    rng = np.random.default_rng(9)
    metrics = tuple(Metric(f"m{i}", "rate") for i in range(10))
    doubtless = 0
    for _run in range(runs):
        sums = {m.name: {arm: rate(rng.binomial(500, 0.3), 500) for arm in "ab"} for m in metrics}
        found = judge(Design(EVEN, metrics, method="fixed", planned=500), {"a": 500, "b": 500}, sums)
        doubtless += any(c.better or c.worse for c in found.comparisons)
    assert doubtless <= 0.05 * runs + 2 * math.sqrt(0.05 * runs)


def test_of_several_arms_the_surest_wins_and_the_rest_is_said() -> None:
    arms = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    sums = {"ok": {"a": rate(300, 1000), "b": rate(400, 1000), "c": rate(430, 1000)}}
    found = judge(Design(arms, (GOAL,)), dict.fromkeys(arms, 1000), sums)
    assert (found.decision, found.arm) == ("winner", "c")
    assert "b also beat a" in found.notes[0]
    sums["ok"]["c"] = rate(200, 1000)
    assert judge(Design(arms, (GOAL,)), dict.fromkeys(arms, 1000), sums).arm == "b"


def test_several_votes_of_a_user_and_ratios_are_judged_by_user() -> None:
    rng = np.random.default_rng(10)
    arms = {}
    for arm, p in (("a", 0.5), ("b", 0.62)):
        x = rng.integers(1, 6, 1200).astype(float)
        arms[arm] = joint(rng.binomial(x.astype(int), rng.beta(4 * p, 4 * (1 - p), 1200)).astype(float), x)
    for kind in ("rate", "ratio", "mean"):
        found = judge(Design(EVEN, (Metric("ok", kind),)), {"a": 1200, "b": 1200}, {"ok": arms})  # type: ignore[arg-type]
        assert found.arm == "b"
        (c,) = found.comparisons
        assert "delta method" in c.interval.method and c.value == pytest.approx(0.62, abs=0.03)
        assert (c.n, c.reading) == (1200, None)


def test_what_was_known_before_sharpens_the_verdict() -> None:
    rng = np.random.default_rng(11)
    past = {arm: rng.normal(10, 3, 500) for arm in "ab"}
    now = {arm: past[arm] + rng.normal(0.25 if arm == "b" else 0, 0.6, 500) for arm in "ab"}
    metric = Metric("depth")
    units = {"a": 500, "b": 500}
    sums = {"depth": {arm: of(now[arm]) for arm in "ab"}}
    assert judge(Design(EVEN, (metric,)), units, sums).decision == "not enough data"
    before = {"depth": {arm: joint(now[arm], past[arm]) for arm in "ab"}}
    found = judge(Design(EVEN, (metric,)), units, sums, before=before)
    assert found.arm == "b"
    assert "CUPED (96% of the variance removed)" in found.comparisons[0].interval.method


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Sums(200, 900.0, 9000.0), Sums(200, 100.0, 100.0)),  # a "rate" that was reported as 0 to 9
        (Sums(200, -50.0, 50.0), rate(100, 200)),
        (Sums(200, math.nan, 1.0), rate(100, 200)),
        (Sums(200, 1.0, math.inf), rate(100, 200)),
        (Joint(Sums(0, 0, 0), Sums(0, 0, 0), 0.0), rate(100, 200)),
    ],
)
def test_reported_nonsense_is_no_crash_and_no_reading(a: Any, b: Any) -> None:
    for method in ("always-valid", "fixed"):
        found = look(a, b, GOAL, FENCE, n=200, method=method, planned=200)
        assert all(c.reading is None for c in found.comparisons)


small = st.integers(0, 300)


@given(
    small, small, small, small, st.sampled_from(("always-valid", "fixed", "bayes")), st.sampled_from(("rate", "mean"))
)
def test_any_counts_have_a_verdict(n: int, m: int, x: int, y: int, method: Any, kind: Any) -> None:
    metrics = (Metric("ok", kind), Metric("bad", kind, "down", "guardrail"))
    found = look(rate(min(x, n), n), rate(min(y, m), m), *metrics, method=method, planned=50)
    assert found.decision in ("winner", "no difference", "not enough data", "roll back", "withheld")
    assert bool(found.arm) == (found.decision in ("winner", "roll back"))
    assert found.why and found.more >= 0
    json.dumps(dataclasses.asdict(found))


# --- how much more


@pytest.mark.parametrize(("x", "y"), [(150, 180), (150, 120)])
def test_the_estimate_of_what_remains_is_kept_four_times_in_five(x: int, y: int) -> None:
    """If what was seen is the truth: the same 500 again and again, and then as many more as were asked for."""
    found = look(rate(x, 500), rate(y, 500))
    assert found.decision == "not enough data" and f"{found.more} more" in found.why
    rng = np.random.default_rng(12)
    n = 500 + found.more
    ends = [
        said(rate(x + rng.binomial(found.more, x / 500), n), rate(y + rng.binomial(found.more, y / 500), n))
        != found.decision
        for _run in range(200)
    ]
    assert 0.75 <= np.mean(ends) <= 0.97  # the first 500 are no longer random


def test_a_verdict_too_far_away_is_not_promised() -> None:
    found = look(rate(500, 1000), rate(501, 1000))
    assert found.more == 0 and "more units" not in found.why


def test_the_margin_of_a_goal_needs_all_goals() -> None:
    wide: Sequence[Metric] = (Metric("ok", "rate", margin=0.05), Metric("also", "rate", margin=0.05))
    level = {"a": rate(50_000, 100_000), "b": rate(50_050, 100_000)}
    units = {"a": 100_000, "b": 100_000}
    assert judge(Design(EVEN, wide), units, {"ok": level, "also": level}).decision == "no difference"
    thin = {"a": rate(5, 10), "b": rate(5, 10)}
    assert judge(Design(EVEN, wide), units, {"ok": level, "also": thin}).decision == "not enough data"
