"""What every ordinary request passes: the name it calls us by, the form and the size of what it sends.

Pure ASGI, before any route. Who may use a route is the route's own business (`guard`).
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuneloop.gateway.failures import Failure
from tuneloop.gateway.origin import Origin, check_host, check_type
from tuneloop.texts import _

# A route that takes files checks form, size and time of its body itself, once it knows who sends it.
STREAMED = frozenset({("POST", "/tables"), ("POST", "/catalogue/search")})
BODY_SECONDS = 30.0  # for a whole body to arrive; 1 MB at the slowest mobile speeds takes 20


class Fence:
    """ASGI middleware. origin: which Host headers are ours. body_limit: bytes."""

    def __init__(self, app: ASGIApp, *, origin: Origin, body_limit: int) -> None:
        self.app = app
        self.origin = origin
        self.body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            headers = dict(scope["headers"])
            check_host(headers.get(b"host", b""), local=self.origin.local)
            if (scope["method"], scope["path"]) in STREAMED:
                send = _closing(send)
            elif scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                body = await self._read(headers, receive)
                if body or scope["method"] != "DELETE":
                    check_type(headers.get(b"content-type", b""))
                receive = _replay(body, receive)
        except Failure as failure:
            answer = failure.response
            answer.headers["connection"] = "close"  # or uvicorn reads on, and throws away, what is still to come
            await answer(scope, receive, send)
            return
        except _Left:
            return
        await self.app(scope, receive, send)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.body_limit:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Left
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.body_limit:
                        raise self._too_large()
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Failure(408, "slow_body", _("the request did not arrive in time")) from None
        return b"".join(parts)

    def _too_large(self) -> Failure:
        return Failure(413, "too_large", _("the request is larger than {n} bytes").format(n=self.body_limit))


def _closing(send: Send) -> Send:
    """End the connection after a refusal: the rest of its body is not worth reading."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return sent


class _Left(Exception):
    """The client hung up while sending."""


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
