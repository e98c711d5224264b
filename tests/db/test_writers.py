"""Eight processes that write at once: none is told "locked", and none waits long."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

from sqlalchemy import select

from tuneloop.answer import calls, feedback
from tuneloop.db import tables
from tuneloop.records import Call
from tuneloop.workspace import Workspace

WRITER = """
import sys, time
from pathlib import Path
from sqlalchemy import select
from tuneloop.answer import feedback
from tuneloop.db.tables import chats
from tuneloop.workspace import open_workspace
workspace, name, turns = open_workspace(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
workspace.db
print("ready", flush=True)
sys.stdin.readline()
for n in range(turns):
    began = time.monotonic()
    if n % 2:
        feedback.record(workspace, call="c", kind="comment", value=f"{name}-{n}")
    else:  # read, then write: what a deferred BEGIN fails at
        with workspace.db.write() as rows:
            now = int(rows.execute(select(chats.c.kind)).scalar_one())
            rows.execute(chats.update().values(kind=str(now + 1)))
    print(time.monotonic() - began, flush=True)
"""
WRITERS, TURNS = 8, 100


def test_eight_processes_are_never_locked_out(workspace: Workspace) -> None:
    calls.write(workspace, Call("c", 1.0, "v", "ok", {}, "x", 1.0))
    with workspace.db.write() as rows:
        rows.execute(tables.chats.insert(), [{"id": "a", "source": "telegram", "name": "n", "kind": "0"}])
    with ExitStack() as stack:
        started = [stack.enter_context(_writer(str(workspace.path), f"w{n}", str(TURNS))) for n in range(WRITERS)]
        for writer in started:
            assert writer.stdout and writer.stdout.readline() == "ready\n"
        for writer in started:
            assert writer.stdin
            writer.stdin.write("go\n")
            writer.stdin.flush()
        said = [writer.communicate(timeout=300) for writer in started]
    assert [writer.returncode for writer in started] == [0] * WRITERS, said
    took = sorted(float(line) for out, _err in said for line in out.split())
    print(f"{len(took)} transactions: p50 {took[len(took) // 2]:.3f} s, p99 {took[int(len(took) * 0.99)]:.3f} s")
    assert len(took) == WRITERS * TURNS
    assert took[int(len(took) * 0.99)] <= 5.0  # 2 s is the promise; measured 0.34 to 0.56 s
    with workspace.db.read() as rows:
        assert rows.execute(select(tables.chats.c.kind)).scalar_one() == str(WRITERS * TURNS // 2)
    assert len(feedback.of_call(workspace, "c")) == WRITERS * TURNS // 2


def _writer(*arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
