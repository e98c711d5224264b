"""The pure side of blind replay: who stands where, which questions, and a verdict that is right by enumeration."""

from __future__ import annotations

from collections import Counter
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from tuneloop.choose import experiments, replay
from tuneloop.choose.replay import LEAST, Outcome
from tuneloop.errors import Conflict, Missing
from tuneloop.stats import sign_test
from tuneloop.workspace import Workspace


def said(wins_a: int, wins_b: int, ties: int = 0) -> list[Outcome | None]:
    return [*["a"] * wins_a, *["b"] * wins_b, *["tie"] * ties]  # type: ignore[list-item]


def chance_of_winner(n: int, share: float) -> float:
    """Exact: over every number of wins that n decided questions can show."""
    return sum(
        comb(n, k) * share**k * (1 - share) ** (n - k)
        for k in range(n + 1)
        if replay.judge("x", "y", said(n - k, k)).decision == "winner"
    )


@pytest.mark.parametrize("n", [20, 21, 35, 50, 100])
def test_without_a_difference_a_winner_is_named_in_less_than_one_of_twenty(n: int) -> None:
    assert 0.01 < chance_of_winner(n, 0.5) <= 0.05


def test_fifty_clicks_find_seven_of_ten() -> None:
    assert chance_of_winner(50, 0.7) > 0.77
    assert chance_of_winner(50, 0.8) > 0.99


@pytest.mark.parametrize(("wins_a", "wins_b"), [(5, 15), (10, 40), (0, 20), (20, 0), (25, 25), (17, 33), (18, 32)])
def test_p_and_interval_are_the_textbook_ones(wins_a: int, wins_b: int) -> None:
    found = replay.judge("x", "y", said(wins_a, wins_b))
    n, most = wins_a + wins_b, max(wins_a, wins_b)
    assert found.p == pytest.approx(min(1.0, 2 * sign_test(most, n - most)))
    low = beta.ppf(0.025, wins_b, wins_a + 1) if wins_b else 0.0
    high = beta.ppf(0.975, wins_b + 1, wins_a) if wins_a else 1.0
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.decision == "winner") == (found.p <= 0.05) == (not found.low <= 0.5 <= found.high)
    assert found.variant == ({True: "y", False: "x"}[wins_b > wins_a] if found.decision == "winner" else "")
    assert "McNemar" in found.method and "Clopper-Pearson" in found.method


def test_below_the_minimum_nothing_is_said_whatever_was_clicked() -> None:
    few = replay.judge("x", "y", said(0, LEAST - 1))
    assert (few.decision, few.variant, few.more) == ("not enough data", "", 1)
    assert replay.judge("x", "y", said(0, LEAST)).variant == "y"
    assert replay.judge("x", "y", []).decision == "not enough data"
    ties = replay.judge("x", "y", said(0, 5, ties=30))  # 5 to 0 is 1 in 16
    assert (ties.decision, ties.ties) == ("no winner", 30)


def test_what_nobody_judged_is_counted_and_decides_nothing() -> None:
    rest: list[Outcome | None] = ["same", "failed a", "failed b", "failed b", "gone", "skip", None]
    found = replay.judge("x", "y", said(2, 3) + rest)
    assert (found.same, found.failed_a, found.failed_b, found.gone, found.skipped, found.open) == (1, 1, 2, 1, 1, 1)
    assert found.more == LEAST - 5


def test_more_is_about_what_the_share_needs() -> None:
    found = replay.judge("x", "y", said(20, 30, ties=50))
    decided = 50 + found.more * 50 / 100
    assert replay.sign_test(round(decided * 0.6), round(decided))[0] < 0.06
    assert replay.judge("x", "y", said(25, 25)).more == 0


def test_a_liking_for_a_side_is_told() -> None:
    assert "left" in replay.judge("x", "y", said(25, 25), sides=(40, 10)).notes[0]
    assert replay.judge("x", "y", said(25, 25), sides=(26, 24)).notes == ()


@given(st.lists(st.sampled_from(["a", "b", "tie", "skip"]), max_size=6))
def test_people_who_differ_make_a_tie(verdicts: list[str]) -> None:
    found = replay.settled(verdicts)
    words = set(verdicts) - {"skip"}
    assert found == (words.pop() if len(words) == 1 else "tie" if words else "skip" if verdicts else None)


def test_sides_are_a_fair_coin_that_does_not_change() -> None:
    turned = [replay.swapped("salt", f"q{n}", "anna") for n in range(4000)]
    assert turned == [replay.swapped("salt", f"q{n}", "anna") for n in range(4000)]
    assert 1850 < sum(turned) < 2150
    other = [replay.swapped("salt", f"q{n}", "boris") for n in range(4000)]
    assert 1850 < sum(x == y for x, y in zip(turned, other, strict=True)) < 2150


def test_questions_are_drawn_once_each_and_from_everybody() -> None:
    loud = [(f"l{n}", "loud", f"question {n}") for n in range(500)]
    quiet = [(f"q{n}", f"u{n}", f"another {n}") for n in range(30)]
    again = [(f"d{n}", f"v{n}", "  Question   7 ") for n in range(50)]
    chosen = replay.sampled([*loud, *quiet, *again, ("e", "w", " \n")], 40, "salt")
    owners = Counter(identity[0] for identity in chosen)
    assert owners["q"] == 30 and owners["d"] <= 1 and "e" not in chosen and len(set(chosen)) == 40
    assert replay.sampled([*loud, *quiet], 40, "other") != chosen
    nameless = replay.sampled([(f"n{n}", "", f"q {n}") for n in range(100)], 20, "salt")
    assert len(nameless) == 20


class TestRows:
    def begin(self, workspace: Workspace, **more: str) -> replay.Replay:
        known = {"task": "t", "a": "x", "b": "y", "fingerprint": "f", "salt": "s"} | more
        return replay.create(workspace, questions=["q1", "q2"], **known)  # type: ignore[arg-type]

    def test_one_open_replay_of_a_pair(self, workspace: Workspace) -> None:
        first = self.begin(workspace)
        assert self.begin(workspace) == first == self.begin(workspace, a="y", b="x")
        assert self.begin(workspace, b="z") != first
        with workspace.db.write() as rows:
            replay.close(rows, first, replay.judge("x", "y", []))
        ended = replay.find(workspace, first.id)
        assert ended.state == replay.OVER and ended.verdict and ended.verdict["decision"] == "not enough data"
        assert self.begin(workspace).id != first.id
        with workspace.db.write() as rows, pytest.raises(Conflict):
            replay.hold_open(rows, first)

    def test_it_is_no_experiment_and_of_one_team(self, workspace: Workspace) -> None:
        mine = self.begin(workspace, tenant="red")
        assert experiments.history(workspace, tenant=None) == []
        assert experiments.assigner(workspace).pick("red", "t", "u") is None
        with pytest.raises(Missing):
            replay.find(workspace, mine.id, tenant="blue")
        assert replay.history(workspace, tenant="blue") == []
        assert replay.history(workspace, tenant=None) == [mine]
        assert self.begin(workspace, tenant="blue").id != mine.id
