"""Calls as rows."""

from __future__ import annotations

from tuneloop.answer import calls
from tuneloop.records import Call
from tuneloop.workspace import Workspace


def call(n: int, status: str = "ok") -> Call:
    request = {"messages": [{"role": "user", "content": f"вопрос {n}"}], "temperature": 0.5}
    return Call(f"chatcmpl-{n}", 100.0 + n, "abc", status, request, "ответ", 12.5, 7, 3, "anna", "")


def test_a_call_comes_back_as_it_was(workspace: Workspace) -> None:
    calls.write(workspace, call(1))
    assert calls.find(workspace, "chatcmpl-1") == call(1)
    assert calls.find(workspace, "chatcmpl-2") is None


def test_recent_calls_come_newest_first(workspace: Workspace) -> None:
    for n in (2, 1, 3):
        calls.write(workspace, call(n))
    assert [c.id for c in calls.recent(workspace, 2)] == ["chatcmpl-3", "chatcmpl-2"]


def test_calls_are_counted_by_how_they_ended(workspace: Workspace) -> None:
    for n, status in enumerate(("ok", "ok", "truncated", "cancelled")):
        calls.write(workspace, call(n, status))
    assert calls.count_by_status(workspace) == {"ok": 2, "truncated": 1, "cancelled": 1}


def test_ids_are_openais_and_never_twice() -> None:
    made = {calls.new_id() for _n in range(1000)}
    assert len(made) == 1000
    assert all(identity.startswith("chatcmpl-") for identity in made)
