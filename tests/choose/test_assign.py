"""Assignment: the same user always meets the same arm, shares are kept, layers never overlap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.choose.assign import BUCKETS, Arm, Assigner, Running, arm_of, bucket

ARMS = (Arm("a", "small", 0.5), Arm("b", "big", 0.3), Arm("c", "huge", 0.2))


def running(identity: str = "e1", *, first: int = 0, end: int = BUCKETS, **more: str) -> Running:
    known = {"tenant": "", "task": "t", "salt": identity, "layer": "default", "mode": "split"} | more
    return Running(
        identity, known["tenant"], known["task"], known["salt"], known["layer"], first, end, ARMS, known["mode"]
    )


@given(st.text(max_size=30))
def test_the_same_unit_meets_the_same_arm(unit: str) -> None:
    assigner = Assigner([running()])
    picked = assigner.pick("", "t", unit)
    assert picked is not None and picked == Assigner([running()]).pick("", "t", unit)
    assert 0 <= bucket("x", unit) < BUCKETS


def test_shares_are_kept_and_are_the_propensities() -> None:
    count: dict[str, int] = {}
    for n in range(20_000):
        picked = (
            Assigner([running()]).pick("", "t", f"user{n}")
            if n < 3
            else ("", arm_of("e1", ARMS, f"user{n}").name, "", 0)
        )
        assert picked is not None
        count[picked[1]] = count.get(picked[1], 0) + 1
    for arm in ARMS:
        assert count[arm.name] / 20_000 == pytest.approx(arm.share, abs=0.012)
    picked = Assigner([running()]).pick("", "t", "anna")
    assert picked is not None and picked[3] == next(a.share for a in ARMS if a.name == picked[1])


def test_experiments_of_a_layer_share_no_user_and_other_layers_are_independent() -> None:
    one, two = running("e1", end=4000), running("e2", first=4000, end=9000)
    assigner = Assigner([one, two])
    seen = {"e1": 0, "e2": 0, None: 0}
    for n in range(10_000):
        picked = assigner.pick("", "t", f"u{n}")
        seen[picked[0] if picked else None] += 1
    assert seen["e1"] / 10_000 == pytest.approx(0.4, abs=0.02)
    assert seen["e2"] / 10_000 == pytest.approx(0.5, abs=0.02)
    other = running("e3", layer="colours")
    both = sum(
        arm_of("e1", ARMS, f"u{n}").name == "a" and arm_of(other.salt, ARMS, f"u{n}").name == "a" for n in range(10_000)
    )
    assert both / 10_000 == pytest.approx(0.25, abs=0.02)


def test_teams_and_tasks_are_apart() -> None:
    assigner = Assigner([running(tenant="red")])
    assert assigner.pick("", "t", "u") is None
    assert assigner.pick("red", "other", "u") is None
    assert assigner.pick("red", "t", "u") is not None


def test_a_shadow_is_never_what_people_get() -> None:
    assigner = Assigner([running(mode="shadow")])
    assert assigner.pick("", "t", "u") is None
    assert [arm.name for _id, arm in assigner.shadows("", "t", "u")] == ["b", "c"]
