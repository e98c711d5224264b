"""HTTP/1.1 from clients: uvicorn's own protocol, with a short way past ASGI for the requests that models answer.

A POST to a hot path is collected here and handed to `exchange` as one object; every other request goes on to the
ASGI application. The short way is what the gateway's figures rest on: an ASGI application that only echoes takes
about as long as a whole exchange does here.

Clocks: a request's head must arrive within HEADER_SECONDS, its body within BODY_SECONDS, an idle connection is closed
after IDLE_SECONDS. One look a second at all connections keeps them; a timer per request would cost 2 us.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tuneloop.gateway.failures import Failure
from tuneloop.texts import _

HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0  # 1 MB at the slowest mobile speeds takes 20
IDLE_SECONDS = 15.0
HEADER_BYTES = 32_768
REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found"}


class Client(Protocol):
    """A request and the way back to who sent it. Header names are lower case; `began` is monotonic seconds."""

    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    peer: str
    began: float
    opened: bool  # the head of the answer has left

    def reply(self, status: int, head: bytes, body: bytes) -> None: ...
    def open_stream(self, head: bytes) -> None: ...
    async def send(self, data: bytes) -> None: ...
    def end_stream(self, data: bytes = b"") -> None: ...
    @property
    def gone(self) -> bool: ...
    def abandon(self) -> None: ...


class Ask:
    """A `Client` on a connection of this server."""

    __slots__ = ("began", "body", "headers", "keep", "opened", "path", "peer", "task", "wire")

    def __init__(self, wire: Wire, path: bytes, headers: dict[bytes, bytes], keep: bool) -> None:
        self.wire = wire
        self.path = path
        self.headers = headers
        self.keep = keep
        self.body = b""
        self.peer: str = wire.client[0] if wire.client else ""
        self.began = time.monotonic()
        self.opened = False
        self.task: asyncio.Task[None] | None = None

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Send a whole answer. head: header lines, each with its line end."""
        self.opened = True
        kept = b"" if self.keep else b"connection: close\r\n"
        reason = REASONS.get(status, b"")
        self.wire.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b%b\r\n%b"
            % (status, reason, len(body), head, kept, body)
        )
        self.wire.answered()

    def open_stream(self, head: bytes) -> None:
        self.opened = True
        kept = b"" if self.keep else b"connection: close\r\n"
        self.wire.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
            b"transfer-encoding: chunked\r\n%b%b\r\n" % (head, kept)
        )

    async def send(self, data: bytes) -> None:
        """One piece of a stream; waits while the client reads more slowly than the model writes."""
        self.wire.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        if self.wire.flow.write_paused:
            await self.wire.flow.drain()

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.wire.transport.is_closing()

    def abandon(self) -> None:
        """Nothing will be sent: the client has left."""
        self.keep = False
        self.wire.answered()

    def end_stream(self, data: bytes = b"") -> None:
        last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self.wire.transport.write(last)
        self.wire.answered()


class Wire(HttpToolsProtocol):
    """One client's connection. `hot` and `exchange` are set on a subclass made by `wired`."""

    hot: frozenset[bytes] = frozenset()
    body_limit = 1_000_000
    exchange: Callable[[Ask], Awaitable[None]]

    _ask: Ask | None = None
    _parts: list[bytes]
    _size = 0
    _deaf = False  # nothing more is read: an answer that ends the connection is under way
    _since = 0.0  # when the present phase began: waiting, head, body
    _phase = "head"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ask and self._ask.task:
            self._ask.task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._phase == "idle":
            self._phase, self._since = "head", time.monotonic()
        super().data_received(data)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._size = 0
        if self._ask is not None:
            # A client that sends its next request before the answer to this one (pipelining): the answer closes
            # the connection and the client repeats what was not answered, as RFC 9112 section 9.3.2 asks of it.
            self._ask.keep, self._deaf = False, True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > HEADER_BYTES and not self._deaf:
            self._refuse(Failure(431, "headers_too_large", _("the request's headers are too long")))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        self._phase, self._since, self._parts, self._size = "body", time.monotonic(), [], 0
        busy = self.cycle is not None and not self.cycle.response_complete
        if self.url in self.hot and not busy and self.parser.get_method() == b"POST":
            keep = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
            self._ask = Ask(self, self.url, dict(self.headers), keep)
            if self.expect_100_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        if self._ask is None:
            super().on_body(body)
            return
        self._size += len(body)
        if self._size > self.body_limit:
            said = _("the request is larger than {n} bytes").format(n=self.body_limit)
            self._refuse(Failure(413, "too_large", said))
            return
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        self._phase = "answer"
        ask = self._ask
        if ask is None:
            super().on_message_complete()
            return
        ask.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        task: asyncio.Task[None] = self.loop.create_task(type(self).exchange(ask))  # type: ignore[arg-type]
        ask.task = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def answered(self) -> None:
        """The answer to the hot request has left."""
        keep = self._ask is not None and self._ask.keep
        self._ask = None
        self.server_state.total_requests += 1
        self._phase, self._since = "idle", time.monotonic()
        if not keep:
            self._deaf = True
            self.transport.close()

    def on_response_complete(self) -> None:
        self._phase, self._since = "idle", time.monotonic()
        super().on_response_complete()

    def shutdown(self) -> None:
        if self._ask is not None:
            self._ask.keep = False
        else:
            super().shutdown()

    def interrupt(self) -> None:
        """End the request that runs now: its exchange says why."""
        if self._ask and self._ask.task:
            self._ask.task.cancel()

    def look(self, now: float) -> None:
        """Once a second: end what takes too long to arrive."""
        waited = now - self._since
        if self._phase == "head" and waited > HEADER_SECONDS:
            self.transport.close()
        elif self._phase == "body" and waited > BODY_SECONDS:
            if self._ask:
                self._refuse(Failure(408, "slow_body", _("the request did not arrive in time")))
            else:
                self.transport.close()
        elif self._phase == "idle" and waited > IDLE_SECONDS:
            self.transport.close()

    def _refuse(self, failure: Failure) -> None:
        """Answer before the request is complete, and hang up."""
        self._deaf = True
        if self._ask is None:
            self._ask = Ask(self, self.url, {}, False)
        self._ask.keep = False
        answer = failure.response
        self._ask.reply(failure.status, b"", bytes(answer.body))


def wired(hot: frozenset[bytes], exchange: Callable[[Ask], Awaitable[None]], body_limit: int) -> type[Wire]:
    """The protocol class of one server."""
    inner: dict[str, Any] = {"hot": hot, "exchange": staticmethod(exchange), "body_limit": body_limit}
    return type("Wire", (Wire,), inner)
