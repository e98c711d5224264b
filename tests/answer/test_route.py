"""Choices between variants: their shares, their reasons, their propensities."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tests.answer.stations import Told
from tuneloop.answer.route import EXPLORE, Asker, Route, choose
from tuneloop.answer.station import Station
from tuneloop.records import EngineSpec, Task, Variant


def route(kind: str, *variants: Variant) -> Route:
    stations = {v.engine: Station(EngineSpec(v.engine), Told(lambda n: 0.0)) for v in variants}
    return Route.of(Task("t", variants, route=kind), stations)  # type: ignore[arg-type]


def variant(name: str, **more: Any) -> Variant:
    return Variant(name, name, "model-" + name, **more)


def shares(of: Route, asker: Asker | None = None, n: int = 4000) -> dict[str, float]:
    draw = random.Random(1).random
    count = Counter(choose(of, asker or Asker(), draw)[0][0].variant.name for _call in range(n))
    return {name: times / n for name, times in count.items()}


def test_a_single_variant_needs_no_choice() -> None:
    lanes, reason, propensity = choose(route("weighted", variant("a")), Asker())
    assert ([lane.variant.name for lane in lanes], reason, propensity) == (["a"], "only", 1.0)


def test_weights_are_shares_and_propensities() -> None:
    of = route("weighted", variant("a", weight=3.0), variant("b", weight=1.0), variant("c", weight=0.0))
    found = shares(of)
    assert found["a"] == pytest.approx(0.75, abs=0.03) and found["b"] == pytest.approx(0.25, abs=0.03)
    assert "c" not in found
    for point, name, propensity in ((0.0, "a", 0.75), (0.749, "a", 0.75), (0.751, "b", 0.25), (0.9999999, "b", 0.25)):
        lanes, reason, chance = choose(of, Asker(), lambda point=point: point)
        assert (lanes[0].variant.name, reason, chance) == (name, "weighted", propensity)
        assert len(lanes) == 3  # the others are there to fall back to


def test_fixed_keeps_the_order_written() -> None:
    assert shares(route("fixed", variant("a"), variant("b", weight=9.0))) == {"a": 1.0}


def test_fastest_takes_the_quickest_and_tries_the_others_now_and_then() -> None:
    of = route("fastest", variant("slow"), variant("quick"), variant("broken"))
    for name, seconds in (("slow", 2.0), ("quick", 0.5), ("broken", 0.1)):
        lane = of.lane(name)
        assert lane is not None
        lane.station.seconds = seconds
        if name == "broken":
            lane.station.breaker.closed_at = 1e12
    found = shares(of)
    assert found["quick"] == pytest.approx(1 - EXPLORE, abs=0.02)
    assert found["slow"] > 0


def test_rules_look_at_user_and_tags() -> None:
    of = route("rule", variant("vip", when={"user": "anna"}), variant("seo", when={"kind": "article"}), variant("rest"))
    assert shares(of, Asker("anna"), 1) == {"vip": 1.0}
    assert shares(of, Asker("boris", {"kind": "article"}), 1) == {"seo": 1.0}
    assert shares(of, Asker("boris"), 1) == {"rest": 1.0}
    assert choose(of, Asker("anna"))[1] == "rule:user=anna"


@pytest.mark.parametrize(
    ("known", "first", "reason"),
    [(0.9, "small", "cheapest:0.90"), (0.5, "big", "cheapest:0.50"), (None, None, "cheapest:not enough data")],
)
def test_cheapest_asks_whether_the_small_one_will_do(known: float | None, first: str | None, reason: str) -> None:
    of = route("cheapest", variant("big", price_out=10.0), variant("small", price_out=0.1))
    lanes, why, propensity = choose(of, Asker(good_enough=lambda: known), lambda: 0.5)
    assert why == reason
    assert first is None or lanes[0].variant.name == first
    assert propensity == (0.5 if known is None else 0.95)


@pytest.mark.parametrize(("known", "explored"), [(0.95, "big"), (0.2, "small")])
def test_cheapest_sometimes_asks_the_other_one_and_says_how_often(known: float, explored: str) -> None:
    of = route("cheapest", variant("big", price_out=10.0), variant("small", price_out=0.1))
    lanes, why, propensity = choose(of, Asker(good_enough=lambda: known), lambda: 0.01)
    assert (lanes[0].variant.name, propensity) == (explored, 0.05)
    assert why.endswith(":explore")


def test_cost_is_per_million_tokens() -> None:
    lane = route("fixed", variant("a", price_in=2.0, price_out=10.0)).lane("a")
    assert lane is not None
    assert lane.cost(500_000, 100_000) == pytest.approx(2.0)
