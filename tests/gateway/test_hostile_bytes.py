"""No request, however it is written, keeps the rows of others out of the database."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from sqlalchemy import select

from tests.gateway.test_exchange import ASK, ECHO, gateway, task
from tuneloop import journal
from tuneloop.db.tables import calls

PATH, JSON = "/v1/chat/completions", {"Content-Type": "application/json"}
GOOD = json.dumps(ASK, ensure_ascii=False).encode()


def with_field(raw: bytes) -> bytes:
    return GOOD[:-1] + b", " + raw + b"}"


BODIES = [
    with_field(b'"extra": "\xff"'),
    with_field(b'"metadata": {"a": "\xed\xa0\x80"}'),
    with_field(b'"user": "\xff"'),
    with_field(b'"user": "\\ud800"'),
    with_field(b'"user": "a\\u0000b"'),
    with_field(b'"metadata": {"a\\u0000": "\\ud800"}'),
    with_field(b'"stop": ["\xc3\x28"]'),
    with_field(b'"tools": [{"type": "function", "function": {"name": "\xfe"}}]'),
    GOOD.replace("мир".encode(), b"\\u0000\\n"),
    GOOD.replace("мир".encode(), b"\xf0\x9f"),
]


def test_every_answered_request_is_a_row_whatever_its_bytes(tmp_path: Path) -> None:
    with gateway(tmp_path, ECHO + task("echo")) as live:
        answered = []
        for body in [GOOD, *BODIES, GOOD]:
            reply = httpx.post(live.url + PATH, content=body, headers=JSON, timeout=10)
            assert reply.status_code in (200, 400), (body, reply.text)
            if reply.status_code == 200:
                answered.append(reply.json()["id"])
            else:
                assert reply.json()["error"]["type"] == "invalid_request_error"
        journal.settle(live.workspace)
        with live.workspace.db.read() as rows:
            stored = {row.id: row for row in rows.execute(select(calls))}
        assert len(answered) >= 2 and set(answered) <= set(stored)
        assert journal.waiting(live.workspace.path / "journal") == 0
        for row in stored.values():
            json.dumps(row.request).encode()
