"""Run benches: `python -m bench NAME...` (no name: list them; `all`: every one).

A bench is a module of this folder with `run() -> None`. The frame prints where the figures come from: processor, cores,
Python, commit, date. `interleaved` runs contestants in turns, so that a busy machine is busy for all of them alike.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench
from bench.frame import print_origin


def names() -> list[str]:
    skipped = ("__main__", "frame")
    found = [m.name for m in pkgutil.iter_modules(bench.__path__) if m.name not in skipped]
    return [name for name in found if hasattr(importlib.import_module(f"bench.{name}"), "run")]


def main(asked: list[str]) -> int:
    known = names()
    if not asked:
        for name in known:
            doc = importlib.import_module(f"bench.{name}").__doc__ or ""
            print(f"{name:20} {doc.strip().splitlines()[0]}")
        return 0
    if unknown := [name for name in asked if name not in (*known, "all")]:
        print(f"no such bench: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    print_origin()
    for name in known if "all" in asked else asked:
        print(f"\n== {name}")
        importlib.import_module(f"bench.{name}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
