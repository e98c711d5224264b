"""What a model can be served as, compared: rungs, targets, the Pareto front, the choice or "infeasible here".

Pure functions over figures that `optimise` measured. Three figures decide: the size of the file, the tokens it
generates per second, and how far its answers are from the unquantised model's (mean KL per token, as the parity check
computes it). A rung is Pareto-optimal when no other is at least as good in all three and better in one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from tuneloop.engines.llamacpp import SMALL
from tuneloop.errors import BadInput
from tuneloop.texts import _

MEGABYTE = 1e6
# Nats per token that count as no difference: q8_0 has 0.0014 on Llama 3 8B (llama.cpp's table), 0.0005 on the demo
# base. Without it "the best quality" would always be f16, at twice the size and half the speed.
NO_DIFFERENCE = 0.002
MOST_RUNGS = 64

Decision = Literal["chosen", "infeasible here"]


@dataclass(frozen=True, slots=True)
class Targets:
    """max_mb: of the file, 10^6 bytes; min_tokens_per_second: generating, one request; max_kl: nats per token."""

    max_mb: float | None = None
    min_tokens_per_second: float | None = None
    max_kl: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (math.isfinite(value) and 0 < value <= 1e9):
                raise BadInput(_("the target {name} must be a positive number").format(name=name))


@dataclass(frozen=True, slots=True)
class Ladder:
    """What is measured. parallel: requests at once for `together`; rounds: looks at each rung, one rung after another
    in every round, so that a busy minute falls on all; seconds: for one look, then SIGKILL; 0: by the file's size."""

    quants: tuple[str, ...]
    threads: tuple[int, ...]
    context: int
    parallel: int = 1
    rounds: int = 3
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, (value, low, high) in {
            "context": (self.context, 64, 1 << 20),
            "parallel": (self.parallel, 1, 64),
            "rounds": (self.rounds, 1, 20),
            "seconds": (self.seconds, 0, 86_400),
            "threads": (min(self.threads, default=0), 1, 1024),
            "rungs": (len(self.rungs), 1, MOST_RUNGS),
        }.items():
            if not low <= value <= high:
                raise BadInput(_("{name} must be {low} to {high}").format(name=name, low=low, high=high))

    @property
    def rungs(self) -> list[tuple[str, int]]:
        """(quantisation, threads), each once."""
        return list(dict.fromkeys((quant, n) for quant in self.quants for n in self.threads))

    @property
    def steps(self) -> int:
        """Files to make or find, and looks."""
        return len(dict.fromkeys(self.quants)) + len(self.rungs) * self.rounds


@dataclass(frozen=True, slots=True)
class Row:
    """A rung's figures over all its looks. Speeds are tokens per second: the median, and the slowest and fastest."""

    quant: str
    threads: int
    state: str  # measured refused failed, or "" before its first look
    reason: str = ""
    bytes: int | None = None
    kl: float | None = None  # nats per token, against the tuned model in float32, of which f16 is a rounding
    greedy: float | None = None  # share of positions with the same likeliest token
    load_seconds: float | None = None
    prompt_per_second: float | None = None
    tokens_per_second: float | None = None
    slowest: float | None = None
    fastest: float | None = None
    together_per_second: float | None = None  # of `parallel` requests at once, all their tokens
    memory_bytes: int | None = None  # the most its process held
    looks: int = 0
    served: bool = False  # `tuneloop serve` takes this number of threads for this file
    optimal: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """row: index of the chosen rung, or of the one that came nearest. missed: target -> (what is there, what was
    asked). best: of each figure, whatever the others are."""

    decision: Decision
    row: int | None
    why: str
    missed: dict[str, tuple[float | None, float]]
    best: dict[str, float | None]


def row(quant: str, threads: int, samples: Sequence[tuple[str, Mapping[str, Any]]]) -> Row:
    """From (state, figures) of each look; one that failed speaks for the rung."""
    for state, figures in samples:
        if state != "measured":
            return Row(quant, threads, state, str(figures.get("reason", "")), bytes=figures.get("bytes"))
    if not samples:
        return Row(quant, threads, "")
    looks = [figures for _state, figures in samples]
    speeds = [value for one in looks for value in one["tokens_per_second"]]
    together = [one["together_per_second"] for one in looks if one["together_per_second"]]
    memory = [one["memory_bytes"] for one in looks if one["memory_bytes"]]
    last = looks[-1]
    return Row(
        quant, threads, "measured",
        bytes=last["bytes"], kl=last["kl"], greedy=last["greedy"],
        load_seconds=median(one["load_seconds"] for one in looks),
        prompt_per_second=median(value for one in looks for value in one["prompt_per_second"]),
        tokens_per_second=median(speeds), slowest=min(speeds), fastest=max(speeds),
        together_per_second=median(together) if together else None,
        memory_bytes=max(memory) if memory else None,
        looks=len(looks), served=threads == served_threads(last["bytes"], last["cores"]),
    )  # fmt: skip


def served_threads(size: int, cores: int) -> int:
    """How many threads the server gives a file of `size` bytes (`engines.llamacpp.LlamaCpp`)."""
    return 1 if size < SMALL else min(cores, 8)


def beaten(mine: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether even the fastest request of a rung was slower than the slowest of another one of the same file: more
    looks would not change their order (racing; Maron & Moore 1994, with the samples' range as the bound)."""
    return bool(mine) and any(other and max(mine) < min(other) for other in others)


def optimal(rows: Sequence[Row]) -> list[bool]:
    """Which rows no other row dominates; what was not measured is never optimal."""
    points = [_point(one) if one.state == "measured" else None for one in rows]
    return [
        mine is not None
        and not any(
            other is not None and other != mine and all(o <= m for o, m in zip(other, mine, strict=True))
            for other in points
        )
        for mine in points
    ]


def _point(one: Row) -> tuple[float, float, float]:
    """Smaller is better in each."""
    kl = math.inf if one.kl is None else one.kl
    return float(one.bytes or 0), -float(one.tokens_per_second or 0), kl


def choose(rows: Sequence[Row], targets: Targets) -> Choice:
    """The rung for the targets. What no target names is made as good as possible: first the difference (below
    NO_DIFFERENCE it is none), then the speed, then the size; after that, in the same order, what a target names.

    Nothing that fits is an answer too: then the rung whose worst shortfall, as a ratio, is the smallest.
    """
    measured = [(n, one) for n, one in enumerate(rows) if one.state == "measured"]
    best = {
        "mb": min((float(one.bytes or 0) / MEGABYTE for _n, one in measured), default=None),
        "tokens_per_second": max((float(one.tokens_per_second or 0) for _n, one in measured), default=None),
        "kl": min((one.kl for _n, one in measured if one.kl is not None), default=None),
    }
    if not measured:
        return Choice("infeasible here", None, _("no rung could be measured"), {}, best)
    fitting = [(n, one) for n, one in measured if not missed(one, targets)]
    if fitting:
        n, one = min(fitting, key=lambda found: _preference(found[1], targets))
        said = _("{rung} meets every target: {figures}") if any(asdict(targets).values()) else _("{rung}: {figures}")
        return Choice("chosen", n, said.format(rung=label(one), figures=_figures(one)), {}, best)
    n, one = min(measured, key=lambda found: (shortfall(found[1], targets), _preference(found[1], targets)))
    short = missed(one, targets)
    why = _("no rung meets every target on this machine; {rung} comes nearest: {missed}").format(
        rung=label(one), missed="; ".join(_shortage(name, *pair) for name, pair in short.items())
    )
    return Choice("infeasible here", n, why, short, best)


def missed(one: Row, targets: Targets) -> dict[str, tuple[float | None, float]]:
    """target -> (what the rung has, what was asked), of the targets it does not meet. An unknown KL meets none."""
    size, speed = float(one.bytes or 0) / MEGABYTE, float(one.tokens_per_second or 0)
    found: dict[str, tuple[float | None, float]] = {}
    if targets.max_mb is not None and size > targets.max_mb:
        found["max_mb"] = (size, targets.max_mb)
    if targets.min_tokens_per_second is not None and speed < targets.min_tokens_per_second:
        found["min_tokens_per_second"] = (speed, targets.min_tokens_per_second)
    if targets.max_kl is not None and (one.kl is None or one.kl > targets.max_kl):
        found["max_kl"] = (one.kl, targets.max_kl)
    return found


def shortfall(one: Row, targets: Targets) -> float:
    """The worst ratio by which a target is missed; 1 when all are met, infinite for an unknown KL."""
    ratios = [1.0]
    for name, (there, asked) in missed(one, targets).items():
        if there is None or (name == "min_tokens_per_second" and not there):
            return math.inf
        ratios.append(asked / there if name == "min_tokens_per_second" else there / asked)
    return max(ratios)


def _preference(one: Row, targets: Targets) -> tuple[float, ...]:
    kl = math.inf if one.kl is None else one.kl
    order = (
        (targets.max_kl, 0.0 if kl <= NO_DIFFERENCE else kl),
        (targets.min_tokens_per_second, -float(one.tokens_per_second or 0)),
        (targets.max_mb, float(one.bytes or 0)),
    )
    free = [value for target, value in order if target is None]
    return (*free, *(value for target, value in order if target is not None))


def label(one: Row) -> str:
    """A rung as people read it."""
    return _("{quant}, threads: {n}").format(quant=one.quant, n=one.threads)


def _figures(one: Row) -> str:
    kl = _("not compared") if one.kl is None else f"{one.kl:.2g}"
    return _("{mb:.1f} MB, {speed:.0f} tokens/s, KL {kl}").format(
        mb=float(one.bytes or 0) / MEGABYTE, speed=float(one.tokens_per_second or 0), kl=kl
    )


def _shortage(name: str, there: float | None, asked: float) -> str:
    if there is None:
        return _("its difference is not known, at most {asked:g} asked").format(asked=asked)
    said = {
        "max_mb": _("{there:.1f} MB, at most {asked:g} asked"),
        "min_tokens_per_second": _("{there:.1f} tokens/s, at least {asked:g} asked"),
        "max_kl": _("KL {there:.2g}, at most {asked:g} asked"),
    }[name]
    return said.format(there=there, asked=asked)
