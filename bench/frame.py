"""What every bench shares: where the figures come from, children measured from outside, contestants in turns."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
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


def child(code: str, *arguments: str) -> tuple[float, float, str]:
    """Run Python code in a fresh process: (seconds, peak megabytes of resident memory, what it printed)."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    said = process.stdout.read()
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}: {said[-500:]}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024, said.strip()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.strip()
