"""The house plan as a test: a module imports lower layers only, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tuneloop"

LAYERS = (
    ("errors", "texts", "progress", "records", "settings", "stats", "child", "machine"),
    ("db", "engines", "encoders"),
    ("workspace", "versions", "journal", "jobs"),
    ("collect", "tune", "answer", "access", "choose", "search"),
    ("ask", "loop"),
    ("gateway", "console", "bot", "client"),
    ("cli",),
    ("__main__",),
)
# library -> the only folders that may import it
ROOMS = {
    "torch": {"tune", "encoders"},
    "transformers": {"tune", "encoders"},
    "peft": {"tune"},
    "aiogram": {"bot"},
    "aiohttp": {"bot"},
    "fastapi": {"gateway", "console"},
    "uvicorn": {"gateway", "console"},
    "xllamacpp": {"engines", "tune"},
    "sklearn": {"collect", "answer", "search"},
    "click": {"cli"},
    "rich": {"cli"},
    "sqlalchemy": {
        "db",
        "versions",
        "journal",
        "jobs",
        "collect",
        "answer",
        "access",
        "choose",
        "search",
        "loop",
        "ask",
    },
    "jwt": {"access"},
    "limits": {"access"},
    "duckdb": {"ask"},
    "openpyxl": {"ask"},
    "kagglehub": {"ask"},
    "redis": {"access", "answer"},
    "qdrant_client": {"search"},
    "prometheus_client": {"gateway"},
    "opentelemetry": {"gateway"},
}
NEVER = {"torchvision", "open_clip", "timm", "langchain", "pickle"}


def level(room: str) -> int:
    return next(i for i, row in enumerate(LAYERS) if room in row)


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            module = str(node.module)
            if module == "tuneloop":
                yield from ((f"tuneloop.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def broken_rules(source: str, room: str) -> list[str]:
    found = []
    for name, line in imports(ast.parse(source)):
        head, _, rest = name.partition(".")
        if head == "tuneloop":
            target = rest.split(".")[0]
            if target.startswith("__") or not target or target == room:
                continue
            here, there = level(room), level(target)
            folder = here not in (0, 2)  # single modules of layers 0 and 2 may see each other
            if there > here or (there == here and folder):
                found.append(f"line {line}: {room} imports {target}")
        elif head in NEVER or (head in ROOMS and room not in ROOMS[head]):
            found.append(f"line {line}: {room} imports {name}")
    return found


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "demo" not in p.relative_to(PACKAGE).parts[:1])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_keeps_its_layer(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    room = parts[0].removesuffix(".py")
    if room in ("__init__", "locale"):
        return
    assert broken_rules(path.read_text(encoding="utf-8"), room) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("collect", "from tuneloop.tune import lora"),
        ("db", "import tuneloop.workspace"),
        ("collect", "import torch"),
        ("answer", "def f():\n    from tuneloop import gateway"),
        ("tune", "import pickle"),
    ],
)
def test_planted_violation_is_found(room: str, source: str) -> None:
    assert broken_rules(source, room)


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "sqlalchemy", "rich.table", "sklearn", "fastapi", "transformers")
    code = (
        "import sys; sys.argv = ['tuneloop', '--help']\n"
        "from tuneloop.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_torchvision_is_not_installed() -> None:
    """A CPU torch beside torchvision's CUDA build breaks the imports of transformers and peft."""
    import importlib.util

    assert importlib.util.find_spec("torchvision") is None


def test_a_server_without_photos_holds_no_scipy() -> None:
    """44 MB, and 0.3 s of its start."""
    code = "import sys, tuneloop.gateway.app, tuneloop.gateway.server; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
