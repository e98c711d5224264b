"""uvicorn with the ends tied up: slow headers, open streams at shutdown, believed proxies.

By itself uvicorn holds 800 half-sent requests for as long as they like, waits for ever for a stream to end when it
is told to stop, and believes X-Forwarded-For from any process of this machine.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from tuneloop.errors import Conflict
from tuneloop.texts import _

HEADER_SECONDS = 10.0


class Protocol(H11Protocol):
    """HTTP/1.1 whose request headers must arrive within HEADER_SECONDS."""

    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._clock = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._clock is None:  # the first piece of the next request on this connection
            self._clock = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._clock:
            self._clock.cancel()
            self._clock = None

    def _too_slow(self) -> None:
        self._clock = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """Stops within the time of grace: requests may end until then, streams still open get their error event.

    ready: called once requests are answered and signals are heard.
    """

    def __init__(self, app: FastAPI, *, grace: float, ready: Callable[[], None] = lambda: None) -> None:
        self.desk = app.state.desk
        self.ready = ready
        self.grace = grace
        # One second more than the bell: open streams hear it and end by themselves.
        limit: Any = grace + 1.0  # typed as whole seconds, used as a timeout
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=limit,
                timeout_keep_alive=15,
                limit_concurrency=1000,  # connections; the queue for the model is far shorter
                h11_max_incomplete_event_size=32_768,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        bell = asyncio.get_running_loop().call_later(self.grace, self.desk.closing.set)
        try:
            await super().shutdown(sockets)
        finally:
            bell.cancel()

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
