"""Workspaces with stored questions, and variants that can be asked without an engine."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import insert

from tuneloop.db.tables import calls
from tuneloop.errors import EngineDown
from tuneloop.records import Call, Task, Variant
from tuneloop.workspace import Workspace

TASK = Task("t", (Variant("own", "echo", "small"), Variant("big", "echo", "large"), Variant("third", "echo", "x")))


def ask_questions(workspace: Workspace, n: int = 30, **more: Any) -> list[str]:
    """n stored calls of the task "t", of as many people."""
    rows = []
    for number in range(n):
        request = {"model": "t", "messages": [{"role": "user", "content": f"How many bees has hive {number}?"}]}
        rows.append(
            {
                "id": f"c{number}", "time": time.time() - number, "version": "", "status": "ok", "request": request,
                "answer": "many", "latency_ms": 1.0, "tokens_in": 1, "tokens_out": 1, "user": f"u{number}",
                "task": "t", "variant": "own", "kind": "chat",
            }
            | more
        )  # fmt: skip
    with workspace.db.write() as connection:
        connection.execute(insert(calls), rows)
    return [str(row["id"]) for row in rows]


class Answers:
    """An `Ask`: says the variant's name and the question's number. `down`: raise; `same`, `fails`: for these questions.

    asked: how often it was called.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.same: set[str] = set()
        self.fails: set[tuple[str, str]] = set()  # (question, variant)

    async def __call__(self, stored: Call, variant: str, identity: str) -> Call:
        if self.down:
            raise EngineDown("nobody there")
        self.asked += 1
        answer = "alike" if stored.id in self.same else f"{variant} says {stored.id}"
        failed = (stored.id, variant) in self.fails
        return Call(
            identity, time.time(), "", "error" if failed else "ok", stored.request, "" if failed else answer, 1.0,
            variant=variant, model=variant, engine="echo",
        )  # fmt: skip
