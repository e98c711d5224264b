"""Calls that people marked, as a gateway would have left them in the database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert

from tuneloop.db.tables import calls, feedback
from tuneloop.records import Task, Variant
from tuneloop.workspace import Workspace

TASK = Task(
    "support",
    (Variant("own", "local", "active"), Variant("far", "echo", "echo", price_in=1.0)),
    checks=("min_chars:20", "no_refusal", "finished"),
    original="far",
    switch="auto",
)


def call(identity: str, **changes: Any) -> dict[str, Any]:
    """A row of the table `calls`. question: the only user message."""
    question = changes.pop("question", "How do I oil a bicycle chain?")
    usual: dict[str, Any] = {
        "id": identity, "time": time.time() - 1000, "version": "v1", "status": "ok",
        "request": {"messages": [{"role": "user", "content": question}]}, "answer": "Wipe it, then oil every link.",
        "latency_ms": 10.0, "tokens_in": 5, "tokens_out": 5, "user": "", "error": "", "tenant": "", "key": "",
        "kind": "chat", "task": TASK.name, "variant": "own", "engine": "local", "model": "active", "reason": "only",
        "propensity": 1.0, "experiment": "", "arm": "", "cached": False, "attempts": 1, "first_ms": None,
        "quality": None, "cost": 0.0, "code": "", "tags": None, "parent": "",
    }  # fmt: skip
    return usual | changes


def mark(of: str, value: str, **changes: Any) -> dict[str, Any]:
    """A row of the table `feedback`: a thumb for "up" and "down", a score for a number."""
    kind = "thumb" if value in ("up", "down") else "score"
    usual = {"kind": kind, "value": value, "time": time.time(), "user": "", "tenant": ""}
    made = {"call": of, **usual, **changes}
    unique = f"{of}/{made['kind']}/{made['user']}/{made['time']}/{made['value']}"
    return {"id": f"fb-{unique}", "key": f"content:{unique}", **made}


def write(workspace: Workspace, made: Sequence[dict[str, Any]], marks: Sequence[dict[str, Any]]) -> None:
    with workspace.db.write() as rows:
        rows.execute(insert(calls), list(made))
        if marks:
            rows.execute(insert(feedback), list(marks))
