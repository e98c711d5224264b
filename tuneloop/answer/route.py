"""Which variant answers a request: the routes of a task, compiled once, chosen from in a few microseconds.

Every choice carries its reason and its propensity (the probability with which this variant was taken), so that the
rows can later be weighed as if another policy had chosen (inverse propensity scoring).
"""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from tuneloop.answer import cache
from tuneloop.answer.station import Station
from tuneloop.records import Task, Variant

# Share of requests that go where "fastest" and "cheapest" would not send them, so that a slow hour is found to be over
# and what the cheap variant would have answered is known of hard questions too.
EXPLORE = 0.05


@dataclass(frozen=True, slots=True)
class Lane:
    """A variant and the engine it asks. Raw JSON, ready to be laid into a request."""

    variant: Variant
    station: Station
    model: bytes
    parameters: dict[str, bytes]

    @classmethod
    def of(cls, variant: Variant, station: Station) -> Lane:
        parameters = {key: json.dumps(value).encode() for key, value in variant.parameters.items()}
        return cls(variant, station, json.dumps(variant.model).encode(), parameters)

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.variant.price_in + tokens_out * self.variant.price_out) / 1e6


@dataclass(frozen=True, slots=True)
class Route:
    """A task as requests meet it. `shaped`: its messages must be rewritten."""

    task: Task
    lanes: tuple[Lane, ...]
    shaped: bool
    fingerprint: bytes  # of everything that changes an answer: part of the key of the cache
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, task: Task, stations: Mapping[str, Station]) -> Route:
        lanes = tuple(Lane.of(variant, stations[variant.engine]) for variant in task.variants)
        total = sum(v.weight for v in task.variants) or 1.0
        return cls(
            task,
            lanes,
            bool(task.system or task.prompt),
            cache.fingerprint(task),
            tuple(v.weight / total for v in task.variants),
        )

    def lane(self, name: str) -> Lane | None:
        return next((lane for lane in self.lanes if lane.variant.name == name), None)


@dataclass(frozen=True, slots=True)
class Asker:
    """What a choice may look at. good_enough: probability that the cheapest variant's answer will do, or None."""

    user: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    good_enough: Callable[[], float | None] = lambda: None
    bar: float = 0.8


def choose(route: Route, asker: Asker, draw: Callable[[], float] = random.random) -> tuple[list[Lane], str, float]:
    """The lanes in the order they are to be tried, why the first is first, and with what probability it was.

    draw: a number in [0, 1).
    """
    lanes = list(route.lanes)
    if len(lanes) == 1:
        return lanes, "only", 1.0
    return CHOICES[route.task.route](route, lanes, asker, draw)


def _fixed(route: Route, lanes: list[Lane], asker: Asker, draw: Callable[[], float]) -> tuple[list[Lane], str, float]:
    return lanes, "fixed", 1.0


def _weighted(
    route: Route, lanes: list[Lane], asker: Asker, draw: Callable[[], float]
) -> tuple[list[Lane], str, float]:
    position = min(bisect(list(accumulate(route.weights)), draw()), len(lanes) - 1)
    lanes.insert(0, lanes.pop(position))
    return lanes, "weighted", route.weights[position]


def _fastest(route: Route, lanes: list[Lane], asker: Asker, draw: Callable[[], float]) -> tuple[list[Lane], str, float]:
    """By the moving average of the engines' times; an engine that has not answered yet is tried first."""
    lanes.sort(key=lambda lane: (lane.station.breaker.state == "open", lane.station.seconds))
    if draw() < EXPLORE:
        other = 1 + int(draw() * (len(lanes) - 1))
        lanes.insert(0, lanes.pop(other))
        return lanes, "fastest:explore", EXPLORE / (len(lanes) - 1)
    return lanes, "fastest", 1.0 - EXPLORE


def _rule(route: Route, lanes: list[Lane], asker: Asker, draw: Callable[[], float]) -> tuple[list[Lane], str, float]:
    """The first variant whose `when` fits the user and the tags of the request; variants without `when` fit all."""
    facts = {**asker.tags, "user": asker.user}
    for position, lane in enumerate(lanes):
        when = lane.variant.when
        if all(facts.get(key) == value for key, value in when.items()):
            lanes.insert(0, lanes.pop(position))
            return lanes, "rule:" + ",".join(f"{k}={v}" for k, v in when.items()) if when else "rule:else", 1.0
    return lanes, "rule:none", 1.0


def _cheapest(
    route: Route, lanes: list[Lane], asker: Asker, draw: Callable[[], float]
) -> tuple[list[Lane], str, float]:
    """The cheapest variant if its answer is expected to do, else the dearest; weighted until that is known."""
    probability = asker.good_enough()
    if probability is None:
        lanes, _reason, propensity = _weighted(route, lanes, asker, draw)
        return lanes, "cheapest:not enough data", propensity
    lanes.sort(key=lambda lane: lane.variant.price_in + lane.variant.price_out)
    if probability < asker.bar:
        lanes.reverse()
    reason = f"cheapest:{probability:.2f}"
    if draw() < EXPLORE:
        lanes.insert(0, lanes.pop())
        return lanes, reason + ":explore", EXPLORE
    return lanes, reason, 1.0 - EXPLORE


CHOICES = {"fixed": _fixed, "weighted": _weighted, "fastest": _fastest, "rule": _rule, "cheapest": _cheapest}
