"""Tasks and engines as JSON documents: what the API and the command line show, and what they take back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuneloop.records import EngineSpec, Task, Variant

HIDDEN = "***"  # stands for the value of a header, which may be a key


def of_task(task: Task, folder: Path) -> dict[str, Any]:
    """Everything a task says. folder: the workspace, to which files are shown relative."""
    document = asdict(task)
    document["variants"] = {variant.name: of_variant(variant) for variant in task.variants}
    document["checks"] = [_shown_check(check, folder) for check in task.checks]
    return document


def of_variant(variant: Variant) -> dict[str, Any]:
    """Everything a variant says but its name."""
    document = asdict(variant)
    del document["name"]
    return document


def of_engine(spec: EngineSpec, folder: Path) -> dict[str, Any]:
    """Everything an engine says; of its headers only the names."""
    document = asdict(spec)
    document["headers"] = dict.fromkeys(spec.headers, HIDDEN)
    document["file"] = _shown(spec.file, folder) if spec.file else ""
    document["adapters"] = {model: _shown(path, folder) for model, path in spec.adapters.items()}
    return document


def with_hidden(fields: Mapping[str, Any], known: EngineSpec | None) -> dict[str, Any]:
    """The fields of an engine that came back, hidden values of headers filled in from what is known."""
    found = dict(fields)
    if known and isinstance(found.get("headers"), Mapping):
        found["headers"] = {
            name: known.headers.get(name, value) if value == HIDDEN else value
            for name, value in found["headers"].items()
        }
    return found


def _shown_check(check: str, folder: Path) -> str:
    name, _colon, argument = check.partition(":")
    return f"{name}:{_shown(argument, folder)}" if name == "json_schema" else check


def _shown(path: str, folder: Path) -> str:
    for root in (folder, folder.resolve()):
        if Path(path).is_relative_to(root):
            return Path(path).relative_to(root).as_posix()
    return path
