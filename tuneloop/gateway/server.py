"""uvicorn with the ends tied up: open streams at shutdown, believed proxies (slow headers: see `wire`).

By itself uvicorn holds 800 half-sent requests for as long as they like, waits for ever for a stream to end when it
is told to stop, and believes X-Forwarded-For from any process of this machine.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from tuneloop.errors import Conflict
from tuneloop.gateway import heap
from tuneloop.gateway.exchange import PATHS, Exchange
from tuneloop.gateway.wire import Client, Wire, wired
from tuneloop.texts import _


class Server(uvicorn.Server):
    """Stops within the time of grace: requests may end until then, streams still open get their error event.

    ready: called once requests are answered and signals are heard.
    """

    def __init__(self, app: FastAPI, *, grace: float, ready: Callable[[], None] = lambda: None) -> None:
        self.desk = desk = app.state.desk
        self.routes = app.routes

        async def answer(client: Client) -> None:
            await Exchange(desk, client).run()

        heap.share()
        self.ready = ready
        self.grace = grace
        # One second more than the bell: open streams hear it and end by themselves.
        limit: Any = grace + 1.0  # typed as whole seconds, used as a timeout
        super().__init__(
            uvicorn.Config(
                app,
                http=wired(frozenset(PATHS), answer, self.desk.body_limit),
                loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
                ws="none",
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=limit,
                timeout_keep_alive=15,
                limit_concurrency=4096,  # connections; the queues for the engines are far shorter
                backlog=1024,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.desk.wires = self.wires
        if self.started:
            # What is loaded stays: looking through it at every full collection made the slowest of 100 requests wait.
            gc.collect()
            gc.freeze()
            self.ready()
            self.desk.photos.begin(self._build_routes)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        bell = asyncio.get_running_loop().call_later(self.grace, self._ring)
        try:
            await super().shutdown(sockets)
        finally:
            bell.cancel()

    def _build_routes(self) -> None:
        """FastAPI builds them when a request looks for one first: 0.2 s, in which nothing else is answered."""
        for route in self.routes:
            route.matches({"type": "http", "method": "GET", "path": "/none", "root_path": "", "headers": []})

    def wires(self) -> list[Wire]:
        """The connections there are."""
        return [wire for wire in self.server_state.connections if isinstance(wire, Wire)]

    def _ring(self) -> None:
        """The time of grace is over: requests still open are answered with what there is."""
        self.desk.closing = True
        for wire in self.wires():
            wire.interrupt()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn raises the signal again when it has stopped; we still have a child to stop, and exit with 0.
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises Conflict when the port is taken or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=256)
    except OSError as problem:
        raise Conflict(
            _("cannot listen on {host}:{port}: {problem}").format(host=host, port=port, problem=problem.strerror),
            fix=_("Choose another port with --port (0 picks a free one)."),
        ) from problem
    # asyncio does this only for sockets that name their protocol; without it an answer waits 40 ms for the client's
    # acknowledgement of its headers (p50 over direct llama.cpp: 50 ms, with it 2 ms).
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
