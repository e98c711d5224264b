"""The comparison of rungs: what dominates what, which rung the targets choose, what "infeasible here" says."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engines.tiny import write_tiny
from tuneloop.errors import BadInput
from tuneloop.loop import ladder
from tuneloop.loop.ladder import (
    NO_DIFFERENCE,
    Ladder,
    Row,
    Targets,
    choose,
    missed,
    optimal,
    row,
    served_threads,
    shortfall,
)


def rung(quant: str, mb: float, speed: float, kl: float | None, **more: Any) -> Row:
    made = {"threads": 1, "state": "measured", "bytes": round(mb * 1e6), "tokens_per_second": speed, "kl": kl}
    return Row(quant, **(made | more))


USUAL = [rung("f16", 1000, 10, 1e-6), rung("q8_0", 530, 19, 0.0014), rung("q4_K_M", 310, 30, 0.03)]


def look(**changes: Any) -> dict[str, Any]:
    known = {
        "bytes": 7_000_000, "kl": 0.01, "greedy": 0.9, "load_seconds": 0.2, "prompt_per_second": [100.0, 120.0, 110.0],
        "tokens_per_second": [50.0, 10.0, 40.0], "together_per_second": None, "memory_bytes": None, "cores": 4,
    }  # fmt: skip
    return known | changes


def test_a_rung_is_the_median_of_all_its_requests_and_the_peak_of_its_memory() -> None:
    second = look(tokens_per_second=[60.0, 70.0, 80.0], memory_bytes=9, load_seconds=0.4, together_per_second=99.0)
    found = row("q8_0", 1, [("measured", look()), ("measured", second)])
    assert (found.tokens_per_second, found.slowest, found.fastest) == (55.0, 10.0, 80.0)
    assert (found.prompt_per_second, found.load_seconds, found.looks) == (110.0, pytest.approx(0.3), 2)
    assert (found.together_per_second, found.memory_bytes, found.served) == (99.0, 9, True)
    assert row("q8_0", 2, [("measured", look())]).served is False
    assert row("q8_0", 4, [("measured", look(bytes=1 << 30))]).served is True


def test_one_failed_look_speaks_for_its_rung() -> None:
    found = row("f16", 1, [("measured", look()), ("failed", {"reason": "it died", "bytes": 5})])
    assert (found.state, found.reason, found.bytes, found.tokens_per_second) == ("failed", "it died", 5, None)
    assert row("f16", 1, []).state == ""


def test_the_front_of_a_usual_ladder_is_all_of_it_and_of_threads_the_fastest() -> None:
    assert optimal(USUAL) == [True, True, True]
    slower = [replace(one, threads=2, tokens_per_second=5.0) for one in USUAL]
    assert optimal([*USUAL, *slower]) == [True] * 3 + [False] * 3
    assert optimal([*USUAL, Row("q4_0", 1, "failed"), rung("q4_1", 320, 29, 0.04)]) == [True] * 3 + [False, False]
    twins = [USUAL[0], USUAL[0]]
    assert optimal(twins) == [True, True], "equal rungs do not dominate each other"


POINTS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.0, 0.1, 0.2, None])), min_size=1, max_size=12
)


@given(POINTS)
def test_every_rung_off_the_front_has_one_on_it_that_dominates(points: list[tuple[int, int, float | None]]) -> None:
    rows = [rung("q", mb, speed, kl) for mb, speed, kl in points]
    front = optimal(rows)
    assert any(front)

    def better(a: Row, b: Row) -> bool:
        def of(one: Row) -> tuple[float, float, float]:
            kl = math.inf if one.kl is None else one.kl
            return float(one.bytes or 0), -float(one.tokens_per_second or 0), kl

        return of(a) != of(b) and all(x <= y for x, y in zip(of(a), of(b), strict=True))

    for at, one in enumerate(rows):
        dominated = [better(other, one) for other, kept in zip(rows, front, strict=True) if kept]
        assert front[at] != any(dominated)


@pytest.mark.parametrize(
    ("targets", "quant"),
    [
        (Targets(), "q8_0"),  # no difference from f16 counts, and it is faster
        (Targets(max_mb=600), "q8_0"),
        (Targets(max_mb=400), "q4_K_M"),
        (Targets(min_tokens_per_second=25), "q4_K_M"),
        (Targets(max_kl=0.05), "q4_K_M"),  # good enough is said: then the fastest
        (Targets(max_kl=0.002), "q8_0"),
        (Targets(max_mb=2000, min_tokens_per_second=5, max_kl=1.0), "q8_0"),
    ],
)
def test_what_no_target_names_is_made_as_good_as_possible(targets: Targets, quant: str) -> None:
    said = choose(USUAL, targets)
    assert said.decision == "chosen" and said.row is not None and USUAL[said.row].quant == quant
    assert said.missed == {} and quant in said.why


def test_infeasible_names_what_came_nearest_and_by_how_much() -> None:
    said = choose(USUAL, Targets(max_mb=300, max_kl=0.01))
    assert said.decision == "infeasible here" and said.row == 1  # q8_0: 1.8 times too large; q4_K_M: 3 times too far
    assert said.missed == {"max_mb": (530.0, 300)}
    assert "530.0 MB, at most 300 asked" in said.why and said.best == {"mb": 310.0, "tokens_per_second": 30, "kl": 1e-6}
    fast = choose(USUAL, Targets(min_tokens_per_second=100))
    assert fast.row == 2 and fast.missed == {"min_tokens_per_second": (30, 100)}
    assert "30.0 tokens/s, at least 100 asked" in fast.why


def test_a_difference_nobody_measured_meets_no_target_for_it() -> None:
    unknown = [rung("q8_0", 500, 20, None)]
    assert choose(unknown, Targets(max_mb=600)).decision == "chosen"
    said = choose(unknown, Targets(max_kl=1.0))
    assert (said.decision, said.row, said.missed) == ("infeasible here", 0, {"max_kl": (None, 1.0)})
    assert choose([*unknown, rung("q4_K_M", 300, 20, 3.0)], Targets(max_kl=1.0)).row == 1
    assert choose([Row("q8_0", 1, "failed")], Targets()).row is None


@given(
    POINTS, st.sampled_from([None, 2.0, 4.0]), st.sampled_from([None, 2.0, 4.0]), st.sampled_from([None, 0.05, 0.15])
)
def test_the_choice_meets_its_targets_whenever_any_rung_does(
    points: list[tuple[int, int, float | None]], mb: float | None, speed: float | None, kl: float | None
) -> None:
    rows = [rung("q", *point) for point in points]
    targets = Targets(mb, speed, kl)
    said = choose(rows, targets)
    assert said.row is not None
    feasible = any(not missed(one, targets) for one in rows)
    assert (said.decision == "chosen") == feasible == (not said.missed)
    assert shortfall(rows[said.row], targets) == min(shortfall(one, targets) for one in rows)
    if feasible and kl is None:
        chosen = rows[said.row].kl
        fits = [one.kl for one in rows if not missed(one, targets)]
        assert all(chosen is not None and chosen <= max(k, NO_DIFFERENCE) for k in fits if k is not None)


def test_a_race_is_over_when_the_ranges_do_not_touch() -> None:
    assert ladder.beaten([1.0, 2.0], [[9.0, 0.5], [2.5, 3.0]])
    assert not ladder.beaten([1.0, 2.5], [[2.5, 3.0]])
    assert not ladder.beaten([], [[2.5]]) and not ladder.beaten([1.0], [[]]) and not ladder.beaten([1.0], [])


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, 1e10])
def test_targets_are_positive_numbers(value: float) -> None:
    for name in asdict(Targets()):
        with pytest.raises(BadInput, match=name):
            Targets(**{name: value})


@pytest.mark.parametrize(
    "wrong",
    [{"context": 10}, {"parallel": 0}, {"rounds": 0}, {"rounds": 99}, {"seconds": -1}, {"threads": (0,)},
     {"quants": ()}, {"threads": ()}, {"threads": tuple(range(1, 66))}],
)  # fmt: skip
def test_a_ladder_is_bounded(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Ladder(**({"quants": ("f16",), "threads": (1,), "context": 512} | wrong))


def test_each_rung_counts_once() -> None:
    one = Ladder(("f16", "q8_0", "f16"), (1, 2), 512, rounds=3)
    assert one.rungs == [("f16", 1), ("f16", 2), ("q8_0", 1), ("q8_0", 2)] and one.steps == 2 + 12


def test_the_server_takes_the_threads_that_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`served_threads` repeats a rule of LlamaCpp: what it orders of its child says whether both still agree."""
    from tuneloop.engines import llamacpp

    ordered: list[int] = []

    def note(_engine: object, _process: object, order: dict[str, Any], _seconds: float) -> str:
        ordered.append(order["threads"])
        return ""

    monkeypatch.setattr(llamacpp.LlamaCpp, "_introduce", note)
    model, cores = write_tiny(tmp_path / "a.gguf"), len(os.sched_getaffinity(0))
    for size in (model.stat().st_size, llamacpp.SMALL - 1, llamacpp.SMALL):
        os.truncate(model, size)
        with llamacpp.LlamaCpp(model):
            assert ordered[-1] == served_threads(size, cores)
    assert served_threads(llamacpp.SMALL, 64) == 8
