"""Calls as rows: what was asked of which version, what came back, how it ended."""

from __future__ import annotations

import uuid
from dataclasses import asdict

from sqlalchemy import Row, func, insert, select

from tuneloop.db.tables import calls
from tuneloop.records import Call
from tuneloop.workspace import Workspace


def new_id() -> str:
    """An id in OpenAI's shape; it is also the id of the completion, so that feedback can name it."""
    return f"chatcmpl-{uuid.uuid4().hex}"


def write(workspace: Workspace, call: Call) -> None:
    """Store a finished call. Raises Conflict or OutOfResources (see `Database.write`)."""
    with workspace.db.write() as rows:
        rows.execute(insert(calls), [asdict(call)])


def find(workspace: Workspace, identity: str) -> Call | None:
    with workspace.db.read() as rows:
        row = rows.execute(select(calls).where(calls.c.id == identity)).first()
    return None if row is None else _call(row)


def recent(workspace: Workspace, limit: int = 100) -> list[Call]:
    """The latest calls, newest first."""
    with workspace.db.read() as rows:
        found = rows.execute(select(calls).order_by(calls.c.time.desc(), calls.c.id).limit(limit))
        return [_call(row) for row in found]


def count_by_status(workspace: Workspace) -> dict[str, int]:
    """{"ok": 120, "cancelled": 3, ...}"""
    with workspace.db.read() as rows:
        found = rows.execute(select(calls.c.status, func.count()).group_by(calls.c.status))
        return {status: int(n) for status, n in found}


def _call(row: Row[tuple[object, ...]]) -> Call:
    return Call(**row._mapping)
