"""Run benches: `python -m bench NAME...` (no name: list them; `all`: every one).

A bench is a module of this folder with `run() -> None`. The frame prints where the figures come from: processor, cores,
Python, commit, date. `interleaved` runs contestants in turns, so that a busy machine is busy for all of them alike.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from bench.frame import print_origin


def benches() -> dict[str, str]:
    """Name -> first line of the docstring of every module here that has `run`; nothing is imported for it."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def main(asked: list[str]) -> int:
    known = benches()
    if not asked:
        for name, what in known.items():
            print(f"{name:20} {what}")
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
