"""Which arm of an experiment a unit belongs to: a hash, so that the same user always meets the same arm.

A layer is a partition of all units into 10,000 buckets by its own salt. Experiments of one layer own disjoint ranges
of buckets, so that no user is in two of them; experiments of different layers overlap at random. Inside an experiment
a second hash, by the experiment's own salt, chooses the arm. The salts make assignments independent of one another
(Tang et al., "Overlapping Experiment Infrastructure", KDD 2010).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Arm:
    """name of the arm, the variant that answers in it, its share of the experiment's units (they sum to 1)."""

    name: str
    variant: str
    share: float


@dataclass(frozen=True, slots=True)
class Running:
    """A running experiment as the hot path sees it. first, end: its buckets of the layer, end excluded."""

    id: str
    tenant: str
    task: str
    salt: str
    layer: str
    first: int
    end: int
    arms: tuple[Arm, ...]
    mode: str = "split"  # "split" | "shadow" | "bandit"


Picked = tuple[str, str, str, float]  # experiment, arm, variant, propensity


class Assigner:
    """An immutable view of the running experiments; made anew whenever one begins, ends or changes its shares."""

    def __init__(self, running: Iterable[Running] = ()) -> None:
        self._by_task: dict[tuple[str, str], list[Running]] = {}
        for one in running:
            self._by_task.setdefault((one.tenant, one.task), []).append(one)

    def pick(self, tenant: str, task: str, unit: str) -> Picked | None:
        """The experiment this unit is in and its arm, or None. unit: the user, or the call where there is none."""
        running = self._by_task.get((tenant, task))
        if not running:
            return None
        for one in running:
            if one.mode != "shadow" and one.first <= bucket(one.layer, unit) < one.end:
                arm = arm_of(one.salt, one.arms, unit)
                return one.id, arm.name, arm.variant, arm.share
        return None

    def shadows(self, tenant: str, task: str, unit: str) -> list[tuple[str, Arm]]:
        """(experiment, arm) whose variant is to answer too, unseen. The first arm is what people get anyway."""
        running = self._by_task.get((tenant, task), ())
        return [
            (one.id, arm)
            for one in running
            if one.mode == "shadow" and one.first <= bucket(one.layer, unit) < one.end
            for arm in one.arms[1:]
        ]


def bucket(salt: str, unit: str) -> int:
    """0 to 9,999, uniform over units."""
    return int.from_bytes(blake2b(f"{salt}\0{unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest()) % BUCKETS


def arm_of(salt: str, arms: Sequence[Arm], unit: str) -> Arm:
    """The arm whose share of [0, 1) the unit's hash falls into."""
    point = (bucket(salt, unit) + 0.5) / BUCKETS
    for arm in arms:
        point -= arm.share
        if point < 0:
            return arm
    return arms[-1]


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights as shares that sum to 1."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
