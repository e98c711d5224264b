"""A real server on a real socket in a thread of the test, with a tiny model or with a scripted one."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import httpx

from tests.engines.tiny import write_tiny
from tuneloop import journal
from tuneloop.answer import calls
from tuneloop.answer.serving import Serving
from tuneloop.gateway.app import create
from tuneloop.gateway.server import Server, listen
from tuneloop.records import Call
from tuneloop.workspace import Workspace, open_workspace, write_atomically

# Token 2 ends an answer; without it a tiny model talks until its window is full.
ENDLESS = {"messages": [{"role": "user", "content": "hi"}], "logit_bias": {"2": -100}}
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


@dataclass
class Live:
    url: str
    workspace: Workspace
    serving: Any
    server: Server

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30, trust_env=False, **options)

    def put(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.put(self.url + path, json=body, timeout=30, trust_env=False, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False, **options)

    def rows(self, count: int, seconds: float = 5.0) -> list[Call]:
        """The calls, newest first, once there are `count` of them."""

        def there() -> bool:
            journal.settle(self.workspace)
            return len(calls.recent(self.workspace)) >= count

        until(there, seconds)
        return calls.recent(self.workspace)


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def configured(path: Path, **serve: Any) -> Workspace:
    """A workspace whose tuneloop.toml has these keys in [serve]."""
    open_workspace(path, create=True)
    lines = [
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in serve.items()
    ]
    write_atomically(path / "tuneloop.toml", "\n".join(["[serve]", *lines, ""]).replace("'", '"'))
    return open_workspace(path)


@contextmanager
def running(workspace: Workspace, serving: Serving | None) -> Iterator[Live]:
    """Serve in a thread until the block ends; the server must then have stopped by itself."""
    server = Server(create(workspace, serving), grace=workspace.settings.number("serve.grace"))
    with listen("127.0.0.1", 0) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            until(lambda: server.started)
            yield Live(url, workspace, serving, server)
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


@contextmanager
def tiny_server(path: Path, **serve: Any) -> Iterator[Live]:
    """A server over a tiny random model. serve: settings of [serve]."""
    workspace = configured(path / "work", **({"context": 512, "grace": 0.5} | serve))
    serving = Serving(workspace, file=write_tiny(path / "tiny.gguf", context=65536))
    serving.start()
    try:
        with running(workspace, serving) as live:
            yield live
    finally:
        serving.stop()
        workspace.db.close()


class Scripted:
    """An engine that sends exactly the bytes it was given: what a broken model server may do."""

    def __init__(self, reply: bytes, *, reset: bool = False, hang: bool = False) -> None:
        self.reply, self.reset, self.hang = reply, reset, hang
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.headers = {"Content-Type": "application/json"}
        self.hung_up = threading.Event()  # the gateway closed the connection
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            with connection:
                request = b""
                while piece := connection.recv(65536):
                    request += piece
                    head, end, body = request.partition(b"\r\n\r\n")
                    length = re.search(rb"(?i)content-length: (\d+)", head)
                    if end and len(body) >= (int(length[1]) if length else 0):
                        break  # closing before all was read would reset the connection
                connection.sendall(self.reply)
                if self.hang:
                    while connection.recv(65536):
                        continue
                    self.hung_up.set()
                if self.reset:
                    time.sleep(0.2)  # a reset also discards what was not read yet
                    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: close() sends RST
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


@contextmanager
def scripted_server(path: Path, engine: Scripted, **serve: Any) -> Iterator[Live]:
    """A server whose model is a script."""
    workspace = configured(path / "work", **({"grace": 0.5} | serve))
    model = SimpleNamespace(
        engine=engine, packed=SimpleNamespace(version="script", name="script", system_role=True, normalise="")
    )

    @contextmanager
    def lease() -> Iterator[Any]:
        yield model

    serving = SimpleNamespace(
        lease=lease, names={"active"}, retry_after=1, status=lambda: {"status": "ok", "serving": None, "failure": None}
    )
    try:
        with running(workspace, cast(Serving, serving)) as live:
            yield live
    finally:
        engine.close()
        workspace.db.close()
