"""What every bench shares: where the figures come from, children measured from outside, contestants in turns."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent


def print_origin() -> None:
    """Machine, Python, commit and date of the figures below."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = _git("rev-parse", "--short", "HEAD") + (" + changes" if _git("status", "--porcelain") else "")
    print(f"machine  {cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB")
    print(f"python   {platform.python_version()} on {platform.system()} {platform.release()}")
    print(f"commit   {commit}")
    print(f"date     {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Median seconds of each contestant, run in turns: a, b, c, a, b, c, ..."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _round in range(rounds):
        for name, work in contestants.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


TELL = """
import re as _re, sys as _sys, time as _time
_peak = _re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print("SPENT", _time.process_time(), _peak, file=_sys.stderr)
"""


@dataclass(frozen=True)
class Spent:
    """What a child process took."""

    seconds: float  # on the clock
    cpu: float  # of processor time: comparable also when the machine is busy
    peak: float  # megabytes of resident memory
    said: str


def child(code: str, *arguments: str) -> Spent:
    """Run Python code in a fresh process and measure it. Raises RuntimeError with the end of its stderr."""
    started = time.perf_counter()
    # The child tells its own peak: what wait4 reports begins with the size this process had when it forked.
    done = subprocess.run(
        [sys.executable, "-c", code + TELL, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-500:]}")
    cpu, peak = done.stderr.rsplit("SPENT ", 1)[1].split()
    return Spent(seconds, float(cpu), int(peak) / 1024, done.stdout.strip())


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.strip()
