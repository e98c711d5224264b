"""HTTP/1.1 to one engine: kept connections, three time limits, bytes in and bytes out.

Why not a client library: the gateway's whole request has about 60 us. Under uvicorn at 64 clients httpx reached 396
to 655 requests/s, aiohttp 4,726, pycurl 8,736, and this, over httptools' parser (llhttp, as Node.js has it), 12,800
and more. It does what an engine needs and no more: no redirects, no cookies, no proxies, no decompression (it asks
for none).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httptools

from tuneloop.engines.engine import Limits, Reply
from tuneloop.errors import BadInput, EngineDown, EngineTimeout
from tuneloop.texts import _

SWEEP = 0.05  # seconds between looks at the clocks of all requests: one timer for all of them costs nothing per request
MAX_BODY = 64 << 20  # bytes of a whole reply; an engine that sends more is broken
HIGH = 256 << 10  # bytes of a stream not yet read, from which the engine is told to wait
IDLE = 64  # connections kept when nobody uses them


class Http:
    """One origin. url: "http://host:port/base" or https; headers go with every request.

    Use `request`, then `close`. Not bound to a loop before the first request; one loop only.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *, connect: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(
                _("'{url}' is not an http or https address").format(url=url), fix=_("Write it as http://host:port/v1.")
            )
        self.url = url.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._base = parts.path.rstrip("/")
        fixed = {"Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "identity", **(headers or {})}
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        if any("\r" in part or "\n" in part for pair in fixed.items() for part in pair):
            raise BadInput(_("a header of this engine has a line break"), fix=_("Correct it in tuneloop.toml."))
        self._connect_seconds = connect
        self._heads: dict[tuple[str, str], bytes] = {}
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def request(self, method: str, path: str, body: bytes, limits: Limits, *, stream: bool = False) -> Reply:
        """Send and await the reply: whole, or (stream, status under 400) its head and `pieces`.

        Raises EngineDown when nobody answers or the connection ends too early, EngineTimeout when a limit passes.
        Cancelling closes the connection, so that the engine stops working.
        """
        head = self._heads.get((method, path)) or self._head(method, path)
        data = b"%b%d\r\n\r\n%b" % (head, len(body), body)
        until = time.monotonic() + limits.total
        while self._idle:  # a kept connection may have been closed just now by the other side: then try the next
            connection = self._idle.pop()
            try:
                return await connection.exchange(data, limits, until, stream)
            except _Stale:
                continue
        connection = await self._open(min(self._connect_seconds, limits.total))
        try:
            return await connection.exchange(data, limits, until, stream)
        except _Stale as problem:
            raise EngineDown(_("{url} hung up without an answer").format(url=self.url)) from problem

    async def close(self) -> None:
        """Close every connection, also those in use."""
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._idle, *self._busy]:
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # the loop closes what was aborted at its next turn

    def _head(self, method: str, path: str) -> bytes:
        line = f"{method} {self._base}{path} HTTP/1.1\r\n{self._fixed}Content-Type: application/json\r\n"
        head = (line + "Content-Length: ").encode("latin-1")
        if len(self._heads) < 256:  # paths are few, unless somebody makes them up
            self._heads[method, path] = head
        return head

    async def _open(self, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP, self._sweep, loop)
        try:
            async with asyncio.timeout(seconds):
                _transport, connection = await loop.create_connection(
                    lambda: Connection(self), self._host, self._port, ssl=self._tls
                )
        except TimeoutError as problem:
            said = _("{url} did not accept a connection within {n:g} s").format(url=self.url, n=seconds)
            raise EngineTimeout(said) from problem
        except OSError as problem:
            said = _("{url} cannot be reached: {reason}").format(url=self.url, reason=in_words(problem))
            raise EngineDown(said) from problem
        return connection

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for connection in [c for c in self._busy if c.late < now]:
            connection.expire()
        self._sweeper = loop.call_later(SWEEP, self._sweep, loop)


class _Stale(Exception):
    """A kept connection was closed by the other side before it answered anything: the request may be sent again."""


class Connection(asyncio.Protocol):
    """One connection; one request at a time. The parser calls the `on_` methods."""

    transport: asyncio.Transport

    def __init__(self, pool: Http) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._used = False
        self.late = float("inf")  # when the sweeper ends the request that runs
        self._waiter: asyncio.Future[Reply] | None = None
        self._reply = Reply(0)
        self._stream = False

    # --- one request

    async def exchange(self, data: bytes, limits: Limits, until: float, stream: bool) -> Reply:
        if self.transport.is_closing():
            raise _Stale
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply(0)
        self._body: list[bytes] = []
        self._size = 0
        self._heard = self._complete = False
        self._delimited = True
        self._stream, self._limits, self._until = stream, limits, until
        self._pieces: Pieces | None = None
        self.late = min(time.monotonic() + limits.first, until)
        waiter: asyncio.Future[Reply] = self._loop.create_future()
        self._waiter = waiter
        self._pool._busy.add(self)
        self.transport.write(data)
        try:
            return await waiter
        except BaseException:
            if self._waiter is waiter:
                self.abort()
            raise
        finally:
            # Between the end of the answer and this line the connection may have begun another request.
            if self._waiter is waiter:
                self._waiter = None

    def expire(self) -> None:
        """A limit has passed: end the request."""
        if time.monotonic() >= self._until:
            said = _("{url} gave no complete answer within {n:g} s").format(url=self._pool.url, n=self._limits.total)
        elif not self._heard:
            said = _("{url} sent nothing for {n:g} s").format(url=self._pool.url, n=self._limits.first)
        else:
            said = _("{url} fell silent for {n:g} s").format(url=self._pool.url, n=self._limits.gap)
        self._fail(EngineTimeout(said))

    def abort(self) -> None:
        """Close now; nothing more is sent."""
        self.late = float("inf")
        self._pool._busy.discard(self)
        if self in self._pool._idle:
            self._pool._idle.remove(self)
        if not self.transport.is_closing():
            self.transport.abort()

    # --- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        if self._complete or (self._waiter is None and self._pieces is None):
            self.abort()  # an answer nobody asked for: the connection cannot be trusted any more
            return
        self._heard = True
        self.late = min(time.monotonic() + self._limits.gap, self._until)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as problem:
            self._fail(
                EngineDown(_("{url} does not speak HTTP: {problem}").format(url=self._pool.url, problem=problem))
            )

    def connection_lost(self, problem: Exception | None) -> None:
        self._pool._busy.discard(self)
        if self in self._pool._idle:
            self._pool._idle.remove(self)
        if self._complete or (self._waiter is None and self._pieces is None):
            return
        if self._reply.status and not self._delimited and problem is None:
            self.on_message_complete()  # HTTP/1.0: the end of the connection is the end of the body
        elif not self._heard and self._used:
            self._fail(_Stale())
        else:
            self._fail(EngineDown(_("{url} hung up in the middle of its answer").format(url=self._pool.url)))

    # --- from the parser

    def on_message_begin(self) -> None:
        if self._complete:  # a second answer behind the first: whose it is nobody knows
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        reply = self._reply
        reply.status = self._parser.get_status_code()
        self._delimited = b"content-length" in reply.headers or b"transfer-encoding" in reply.headers
        if self._stream and 200 <= reply.status < 400:
            self._pieces = reply.pieces = Pieces(self)
            if self._waiter and not self._waiter.done():
                self._waiter.set_result(reply)

    def on_body(self, data: bytes) -> None:
        if self._pieces is not None:
            self._pieces.put(data)
            return
        self._size += len(data)
        if self._size > MAX_BODY:
            said = _("{url} answered with more than {n} MB").format(url=self._pool.url, n=MAX_BODY >> 20)
            self._fail(EngineDown(said))
        self._body.append(data)

    def on_message_complete(self) -> None:
        if 100 <= self._reply.status < 200:  # "100 Continue" and its like come before the answer
            return
        self._complete = self._used = True
        self.late = float("inf")
        self._pool._busy.discard(self)
        if not self._delimited or not self._parser.should_keep_alive() or len(self._pool._idle) >= IDLE:
            self.transport.close()
        else:
            self._pool._idle.append(self)
        if self._pieces is not None:
            self._pieces.end()
        elif self._waiter and not self._waiter.done():
            self._reply.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._waiter.set_result(self._reply)

    def _fail(self, problem: Exception) -> None:
        self._complete = True
        self.abort()
        if self._pieces is not None:
            self._pieces.end(problem)
        elif self._waiter and not self._waiter.done():
            self._waiter.set_exception(problem)


class Pieces(AsyncIterator[bytes]):
    """The body of a stream as it arrives. `aclose` closes the connection unless the end was reached."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._paused = self._ended = False
        self._problem: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > HIGH and not self._paused:
            self._paused = True
            self._connection.transport.pause_reading()
        self._wake()

    def end(self, problem: Exception | None = None) -> None:
        self._ended, self._problem = True, problem
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._ended:
                if self._problem:
                    raise self._problem
                raise StopAsyncIteration
            self._waiter = self._connection._loop.create_future()
            await self._waiter
        data = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._connection.transport.resume_reading()
        return data

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._connection.abort()


def in_words(problem: OSError) -> str:
    """Why there is no connection; asyncio says "Multiple exceptions" where a name has two addresses."""
    if isinstance(problem, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(problem):
        return _("nothing listens there")
    if isinstance(problem, socket.gaierror):
        return _("nobody knows this name")
    return problem.strerror or str(problem) or type(problem).__name__
