"""Will it fit? Memory, disk and time are worked out and said before a model is loaded.

A run that fills the disk at step 900 or takes two days is worse than one that says so at once, with the numbers
and with what would fit.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tuneloop import machine
from tuneloop.errors import OutOfResources
from tuneloop.texts import _
from tuneloop.tune.folder import Base
from tuneloop.tune.options import Options

_RUNTIME = 1000 << 20  # bytes of torch, transformers, peft, matplotlib and their scratch space: 0.9 to 1.0 GB seen
_BF16_GAIN = 1.3  # bf16 has to be that much faster: it also costs precision


@dataclass(frozen=True, slots=True)
class Machine:
    """What was measured here. gflops: billions of float operations a second in matrix products of the model's width."""

    device: str  # "cpu" | "cuda"
    dtype: str  # "bf16" | "fp32"
    threads: int
    gflops: float
    bf16_gain: float  # bf16 speed over fp32 speed


@dataclass(frozen=True, slots=True)
class Fit:
    """Bytes needed and free, hours at best, tokens of the largest forward pass that fits and of the longest example."""

    memory_needed: int
    memory_free: int
    disk_needed: int
    disk_free: int
    hours_at_least: float
    micro_tokens: int
    longest: int


def measure(base: Base, options: Options) -> Machine:
    """Measure the machine for about a second: idle cores, and whether bf16 really is faster here."""
    import psutil
    import torch

    if torch.cuda.is_available():
        device, threads, cores = "cuda", torch.get_num_threads(), 0
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # Two OpenMP threads on busy cores wait for each other: 14-26 tokens/s in all instead of 30 on one.
        idle = round(cores * (1 - psutil.cpu_percent(interval=0.4) / 100))
        device, threads = "cpu", options.threads or min(cores, max(1, idle))
        torch.set_num_threads(threads)
    speed = {name: _speed(base, name, device) for name in ("fp32", "bf16")}
    gain = speed["bf16"] / speed["fp32"]
    dtype = options.dtype if options.dtype != "auto" else ("bf16" if gain >= _BF16_GAIN else "fp32")
    return Machine(device, dtype, threads, speed[dtype], gain)


def _speed(base: Base, dtype: str, device: str) -> float:
    """GFLOP/s of a layer's largest product over 1,024 tokens; best of what fits into 0.3 s, at least 3."""
    import torch

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    x = torch.ones(1024, base.hidden, dtype=kind, device=device)
    w = torch.ones(base.intermediate, base.hidden, dtype=kind, device=device)
    best, tries, deadline = float("inf"), 0, time.perf_counter() + 0.3
    while tries < 3 or time.perf_counter() < deadline:
        begin = time.perf_counter()
        float((x @ w.t())[0, 0])  # reading a value waits for the device
        best, tries = min(best, time.perf_counter() - begin), tries + 1
    return 2 * 1024 * base.hidden * base.intermediate / best / 1e9


def adapter_parameters(base: Base, rank: int) -> int:
    """How many numbers an adapter of this rank over all linear layers has."""
    heads, kv = base.heads * base.head_dim, base.kv_heads * base.head_dim
    sides = (base.hidden + heads) * 2 + (base.hidden + kv) * 2 + (base.hidden + base.intermediate) * 3
    return base.layers * rank * sides


def memory_needed(base: Base, options: Options, dtype: str, tokens: int, width: int) -> int:
    """Bytes at the peak of a step of `tokens` tokens whose longest example has `width`.

    Weights, adapter with gradient and two AdamW moments in float32, what autograd keeps of each layer (norms work
    in float32; attention keeps its probabilities up to 512 tokens), and the chunk of logits.
    """
    size = 2 if dtype == "bf16" else 4
    heads, kv = base.heads * base.head_dim, base.kv_heads * base.head_dim
    layer = 16 * base.hidden + size * (4 * base.hidden + 6 * heads + 4 * kv + 4 * base.intermediate)
    layer += size * base.heads * min(width, 512)
    weights = base.parameters * size + adapter_parameters(base, options.rank) * 20
    logits = 3 * 4 * min(16 << 20, tokens * base.vocabulary)
    return _RUNTIME + weights + layer * base.layers * tokens + logits


def estimate(
    base: Base, options: Options, machine: Machine, folder: Path, *, tokens: int, longest: int, most: int | None = None
) -> Fit:
    """What the run needs beside what is there.

    tokens: of the whole run; longest: of one example; most: tokens of a forward pass when it was begun before.
    """
    free = memory_free(machine.device)
    micro = most or options.batch_tokens
    while micro > longest and memory_needed(base, options, machine.dtype, micro, longest) > 0.8 * free:
        micro = max(longest, micro // 2)
    operations = 4 * tokens * (base.linear + base.vocabulary * base.hidden // 4)
    return Fit(
        memory_needed=memory_needed(base, options, machine.dtype, max(micro, longest), longest),
        memory_free=free,
        # A checkpoint (adapter, two moments, best adapter) in two copies while it is replaced, and the version.
        disk_needed=adapter_parameters(base, options.rank) * 4 * 9 + (64 << 20),
        disk_free=shutil.disk_usage(folder).free,
        hours_at_least=operations / (machine.gflops * 1e9) / 3600,
        micro_tokens=micro,
        longest=longest,
    )


def check(base: Base, options: Options, fit: Fit, folder: Path) -> None:
    """Raises OutOfResources, with both numbers and what would fit, when an estimate says the run cannot work."""
    if fit.memory_needed > fit.memory_free:
        raise OutOfResources(
            _("tuning {name} needs {needed:.1f} GB of memory, {free:.1f} GB are free").format(
                name=base.folder.name, needed=fit.memory_needed / 1e9, free=fit.memory_free / 1e9
            ),
            fix=_(
                "Take a smaller base model, a shorter --max-length (longest example: {n} tokens), or close programs."
            ).format(n=fit.longest),
        )
    if fit.disk_needed > fit.disk_free:
        raise OutOfResources(
            _("the run needs {needed:.2f} GB of disk in {path}, {free:.2f} GB are free").format(
                needed=fit.disk_needed / 1e9, path=folder, free=fit.disk_free / 1e9
            ),
            fix=_("Free some space, choose another disk with --workspace, or a smaller --rank."),
        )
    check_time(options, fit.hours_at_least, at_least=True)


def check_time(options: Options, hours: float, *, at_least: bool = False, tokens_per_second: float = 0.0) -> None:
    """Raises OutOfResources when the estimate is above max_hours, with the largest number of epochs that fits."""
    if hours <= options.max_hours:
        return
    told = (
        _("the run would take at least {hours:.1f} hours on this machine at its full arithmetic speed")
        if at_least
        else _("the run would take {hours:.1f} hours at the {speed:.0f} tokens/s of its first steps")
    ).format(hours=hours, speed=tokens_per_second)
    epochs = int(options.epochs * options.max_hours / hours)
    fewer = (_("--epochs {n} would fit; or ").format(n=epochs)) if epochs else ""
    raise OutOfResources(
        _("{told}; tune.max_hours is {limit:g}").format(told=told, limit=options.max_hours),
        fix=_("{fewer}take a smaller base model, fewer examples, a machine with a GPU, or raise --max-hours.").format(
            fewer=fewer
        ),
    )


def memory_free(device: str) -> int:
    """Bytes that can be taken: of the graphics card, or of this machine within its container's limit."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return machine.memory_free()
