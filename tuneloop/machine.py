"""What this machine has: memory within its container's limit, disk, cores, and how fast both memory and cores are.

The two probes take half a second together. They are for estimates: what counts is measured with a model.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GROUP = Path("/sys/fs/cgroup")
_BLOCK = 64 << 20  # bytes a thread reads: more than the third-level cache of a desktop holds
_SECONDS = 0.15  # for each probe, at least two rounds


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory in bytes. bandwidth: bytes per second that all cores read; gflops: float32 products of all cores."""

    name: str
    cores: int
    memory: int
    memory_free: int
    bandwidth: float = 0.0
    gflops: float = 0.0


def look(*, probe: bool = True) -> Machine:
    """The machine as it is now. probe: measure bandwidth and arithmetic, else they are 0."""
    speeds = (bandwidth(), gflops()) if probe else (0.0, 0.0)
    return Machine(name(), cores(), memory(), memory_free(), *speeds)


def name() -> str:
    """Which machine this is, without its owner's name for it: "AMD EPYC × 2, 25 GB"."""
    return f"{_processor()} × {cores()}, {memory() / 1e9:.0f} GB"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """How many processes want each core, over the last minute: above 1 they wait for each other."""
    return os.getloadavg()[0] / cores() if hasattr(os, "getloadavg") else 0.0


def memory() -> int:
    """Bytes of memory, or of the container's limit."""
    import psutil

    return min(int(psutil.virtual_memory().total), _limit() or 1 << 62)


def memory_free() -> int:
    """Bytes that can be taken without swapping, within the container's limit."""
    import psutil

    free, limit = int(psutil.virtual_memory().available), _limit()
    used = _GROUP / "memory.current"
    return min(free, max(0, limit - int(used.read_text()))) if limit and used.exists() else free


def peak_memory(pid: int | None) -> int | None:
    """The most resident memory a process ever had (VmHWM), in bytes; None where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "")
    return int(line.split()[1]) * 1024 if line else None


def disk(path: Path) -> tuple[int, int]:
    """(free, all) bytes of the disk that `path` is on, or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return usage.free, usage.total


def bandwidth() -> float:
    """Bytes per second that all cores read from memory together, or one of them where the others are busy."""
    import numpy as np

    threads = min(cores(), 8)
    blocks = [np.ones(_BLOCK // 4, np.float32) for _n in range(threads)]
    one = _BLOCK / _best(lambda: np.max(blocks[0]))
    with ThreadPoolExecutor(threads) as pool:
        return max(one, threads * _BLOCK / _best(lambda: list(pool.map(np.max, blocks))))


def gflops() -> float:
    """Billions of float32 operations a second of all cores, each as one is in a product of a small model's width.

    One core, in bursts of a few milliseconds: on a busy machine all at once told from 10 to 60 for the same cores.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    x, w = np.ones((64, 1024), np.float32), np.ones((1024, 1024), np.float32)
    with threadpool_limits(1):
        return cores() * 2 * 64 * 1024 * 1024 / _best(lambda: x @ w) / 1e9


def _best(work: Any) -> float:
    best, rounds, until = float("inf"), 0, time.perf_counter() + _SECONDS
    while rounds < 2 or time.perf_counter() < until:
        began = time.perf_counter()
        work()
        best, rounds = min(best, time.perf_counter() - began), rounds + 1
    return best


def _limit() -> int:
    """The container's limit of memory in bytes; 0 for none."""
    path = _GROUP / "memory.max"
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text.isdigit() else 0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return " ".join((found or platform.processor() or platform.machine()).split())
