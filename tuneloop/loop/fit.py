"""Does a model fit this machine? Disk, memory and speed are worked out before a byte of it is fetched.

    here = machine.look()
    rows = [judged(shape, quant, here, room) for quant in shape.quants]

Memory is the file, which is mapped, the key-value cache of the context, and what llama.cpp itself takes. Speed is
bound by whichever is slower: reading the weights once per token, or multiplying them. Both figures of the machine are
probed, so the speed is an estimate, of the processor alone; where a model was measured here, `calibrated` corrects it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from tuneloop.loop.shapes import Shape
from tuneloop.machine import Machine
from tuneloop.texts import _

RUNTIME = 150 << 20  # bytes of llama.cpp's process beside file and cache: 75 to 100 MB seen, and some room
SLOW = 5.0  # tokens/s: slower than people read
PROMPT, ANSWER = 500, 60  # tokens of one question to a table: names and kinds of 12 columns, one short query
# Weights that llama.cpp multiplies while numpy does one float32 operation: Qwen2.5-0.5B's shape on one core of an EPYC
# with 120 GFLOP/s made 8, 22 and 18 tokens/s in f16, q8_0 and q4_K_M; on other processors it is up to twice off.
_RATE = {"f16": 0.034, "bf16": 0.034, "q8": 0.090, "q6": 0.070, "q5": 0.070, "q4": 0.075}
_PROMPT_SHARE = 0.4  # of those operations, which reading a prompt reaches there: 0.2 in f16, 0.6 in q8_0

Verdict = Literal["fits", "slow", "memory now", "memory", "disk"]


@dataclass(frozen=True, slots=True)
class Row:
    """One model in one quantisation. Sizes in bytes; estimated: which of the figures are no measurements."""

    model: str
    quant: str
    parameters: int
    licence: str
    source: str
    disk: int  # to be fetched or made; 0 when it is here
    size: int
    memory: int
    tokens_per_second: float
    seconds: float  # for a question to a table: `PROMPT` tokens read, `ANSWER` written
    verdict: Verdict
    said: str
    estimated: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return self.verdict in ("fits", "slow")


def judged(shape: Shape, quant: str, here: Machine, disk_free: int, *, context: int = 2048, factor: float = 1.0) -> Row:
    """A row with its verdict. disk_free: bytes where it would be put; factor: of `calibrated`."""
    size = shape.file_bytes(quant)
    needed = RUNTIME + size + shape.cache_bytes(min(context, shape.context or context))
    disk = 0 if shape.bytes else size
    speed = factor * generating(shape.parameters, size, quant, here)
    reading = factor * _PROMPT_SHARE * here.gflops * 1e9 / (2 * shape.parameters or 1)
    verdict = _verdict(disk, disk_free, needed, speed, here)
    guessed = ("size", "memory", "speed") if not shape.bytes else ("memory", "speed")
    return Row(
        shape.name, quant, shape.parameters, shape.licence, shape.source, disk, size, needed, round(speed, 1),
        round(PROMPT / reading + ANSWER / speed, 1) if speed and reading else 0.0, verdict,
        _said(verdict, disk, disk_free, needed, speed, here), guessed,
    )  # fmt: skip


def generating(parameters: int, size: int, quant: str, here: Machine) -> float:
    """Tokens per second of one request, estimated from what `here` was probed to do."""
    kind = next((known for known in _RATE if quant.lower().startswith(known)), "q4")
    multiplied = here.gflops * 1e9 * _RATE[kind] / (parameters or size)
    return min(here.bandwidth / size, multiplied) if size else 0.0


def calibrated(measured: Iterable[Mapping[str, Any]], here: Machine) -> tuple[float, int]:
    """(factor, of how many models): measured over estimated speed, the median; (1.0, 0) without any.

    measured: {"parameters", "size", "quant", "tokens_per_second"} of models that ran here.
    """
    ratios = []
    for one in measured:
        guess = generating(int(one["parameters"]), int(one["size"]), str(one["quant"]), here)
        # A model that the caches of the processor hold says nothing about one that they do not.
        if guess and one["size"] >= 50e6 and one["tokens_per_second"]:
            ratios.append(float(one["tokens_per_second"]) / guess)
    return (median(ratios), len(ratios)) if ratios else (1.0, 0)


def best(rows: Iterable[Row]) -> Row | None:
    """The largest that fits and is quick enough; more bits where the model is the same."""
    good = [row for row in rows if row.verdict == "fits"]
    return max(good, key=lambda row: (row.parameters, row.size), default=None)


def as_json(row: Row) -> dict[str, Any]:
    """JSON values only."""
    return asdict(row)


def _verdict(disk: int, disk_free: int, needed: int, speed: float, here: Machine) -> Verdict:
    if needed > here.memory:
        return "memory"
    if disk * 1.1 > disk_free:
        return "disk"
    if needed > here.memory_free:
        return "memory now"
    return "slow" if speed < SLOW else "fits"


def _said(verdict: Verdict, disk: int, disk_free: int, needed: int, speed: float, here: Machine) -> str:
    if verdict == "memory":
        said = _("does not fit: needs {needed} of memory, there are {there}")
        return said.format(needed=gigabytes(needed), there=gigabytes(here.memory))
    if verdict == "disk":
        said = _("does not fit: needs {needed} of disk, {free} are free")
        return said.format(needed=gigabytes(int(disk * 1.1)), free=gigabytes(disk_free))
    if verdict == "memory now":
        said = _("does not fit now: needs {needed} of memory, {free} are free")
        return said.format(needed=gigabytes(needed), free=gigabytes(here.memory_free))
    return _("fits, slow") if verdict == "slow" else _("fits")


def gigabytes(size: float) -> str:
    """1.2 GB, as people read sizes of models."""
    return _("{n:.1f} GB").format(n=size / 1e9) if size >= 1e8 else _("{n:.0f} MB").format(n=size / 1e6)
