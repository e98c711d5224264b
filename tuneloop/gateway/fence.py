"""The first thing a request meets: who it says it talks to, whether it may, and how much it sends.

Pure ASGI and judged by the path the router itself uses: a gate that rebuilt the path from the Host header was
walked around (CVE-2026-48710). Deny by default: every path needs the key, but for those in OPEN.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuneloop.gateway.failures import Failure
from tuneloop.texts import _

OPEN = frozenset({"/", "/health", "/docs", "/openapi.json"})
BODY_SECONDS = 30.0  # for a whole body to arrive; 1 MB at the slowest mobile speeds takes 20


class Fence:
    """ASGI middleware. key: "" for none. local: only loopback names are accepted as Host (DNS rebinding)."""

    def __init__(self, app: ASGIApp, *, key: str, local: bool, body_limit: int) -> None:
        self.app = app
        self.key = key.encode()
        self.local = local
        self.body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            headers = dict(scope["headers"])
            self._check_host(headers)
            self._check_key(scope["path"], headers)
            if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                self._check_type(headers)
                body = await self._read(headers, receive)
                receive = _replay(body, receive)
        except Failure as failure:
            await failure.response(scope, receive, send)
            return
        except _Left:
            return
        await self.app(scope, receive, send)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if self.local and not is_loopback(_without_port(host)):
            raise Failure(400, "wrong_host", _("this server answers only to names of this machine"))

    def _check_key(self, path: str, headers: dict[bytes, bytes]) -> None:
        if not self.key or path in OPEN:
            return
        kind, _space, sent = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(sent.strip(), self.key):
            raise Failure(401, "invalid_api_key", _("the API key is missing or wrong"))

    def _check_type(self, headers: dict[bytes, bytes]) -> None:
        # A page of a stranger may post text/plain to this machine without asking; JSON it may not.
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Failure(415, "wrong_content_type", _("send JSON with Content-Type: application/json"))

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


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own: localhost, 127.x.x.x, ::1."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
