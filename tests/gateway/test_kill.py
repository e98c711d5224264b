"""kill -9 of a server that answers: every answer somebody got is a row, and a repeated request is the first one."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import select

from tests.gateway.process import Served, serve
from tests.gateway.test_exchange import ASK, ECHO, task
from tuneloop import journal
from tuneloop.db.tables import calls
from tuneloop.workspace import Workspace, open_workspace, write_atomically

CLIENTS = 4


class Asker:
    """Asks whole, streamed and with an Idempotency-Key in turn; `heard` are the ids of answers that came to an end."""

    def __init__(self, name: str) -> None:
        self.name, self.sent = name, 0
        self.heard: set[str] = set()
        self.once: dict[str, str] = {}  # key -> id of the first reply

    def until_killed(self, served: Served, stop: threading.Event) -> None:
        with httpx.Client(base_url=served.url, trust_env=False, timeout=20) as client:
            while not stop.is_set():
                try:
                    self.ask(client)
                except httpx.TransportError:
                    return

    def ask(self, client: httpx.Client) -> None:
        self.sent += 1
        if self.sent % 3 == 0:
            with client.stream("POST", "/v1/chat/completions", json=ASK | {"stream": True}) as reply:
                if any(line == "data: [DONE]" for line in reply.iter_lines()):
                    self.heard.add(reply.headers["x-tuneloop-call"])
            return
        key = f"{self.name}-{self.sent}" if self.sent % 3 == 1 else ""
        reply = client.post("/v1/chat/completions", json=ASK, headers={"Idempotency-Key": key} if key else {})
        assert reply.status_code == 200, reply.text
        identity = str(reply.json()["id"])
        self.heard.add(identity)
        if key:
            self.once[key] = identity


def repeated(served: Served, askers: list[Asker]) -> int:
    """Ask the last keys of everybody again, of a server that was started since: the replies are the first ones."""
    known = [pair for asker in askers for pair in list(asker.once.items())[-3:]]
    for key, identity in known:
        reply = httpx.post(
            served.url + "/v1/chat/completions", json=ASK, headers={"Idempotency-Key": key}, trust_env=False, timeout=20
        )
        assert (reply.status_code, reply.json()["id"]) == (200, identity)
    return len(known)


def kill_while_answering(workspace: Workspace, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    askers = [Asker(f"c{n}") for n in range(CLIENTS)]
    again = 0
    for kill in range(kills):
        with serve(workspace.path) as served, ThreadPoolExecutor(CLIENTS) as pool:
            again += repeated(served, askers)
            stop = threading.Event()
            asking = [pool.submit(asker.until_killed, served, stop) for asker in askers]
            time.sleep(0.05 + draw.random() * 0.4)
            drainers = psutil.Process(served.process.pid).children()
            os.kill(served.process.pid, signal.SIGKILL)
            if kill % 2:
                for drainer in drainers:
                    drainer.kill()
            stop.set()
            for one in asking:
                one.result()
            psutil.wait_procs(drainers, timeout=30)  # those that live drain once more and end by themselves
    journal.settle(workspace)
    with workspace.db.read() as rows:
        stored = {row.id: row.status for row in rows.execute(select(calls.c.id, calls.c.status))}
    heard = set().union(*(asker.heard for asker in askers))
    print(f"{kills} kills: {len(heard)} answers heard, {len(heard - set(stored))} lost, {again} repeated as they were")
    assert len(heard) > 10 * kills and again > 0
    assert {stored.get(identity) for identity in heard} == {"ok"}
    assert workspace.db.problems() == []


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    open_workspace(tmp_path / "w", create=True)
    write_atomically(tmp_path / "w/tuneloop.toml", ECHO + task("echo"))
    return open_workspace(tmp_path / "w")


def test_kill_9_of_the_server_loses_no_answer_that_somebody_got(workspace: Workspace) -> None:
    kill_while_answering(workspace, kills=4, seed=1)
    workspace.db.close()


@pytest.mark.soak
def test_200_times_kill_9_of_the_server_loses_no_answer(workspace: Workspace) -> None:
    kill_while_answering(workspace, kills=200, seed=2)
    workspace.db.close()
