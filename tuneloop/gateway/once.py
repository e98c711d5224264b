"""Idempotency-Key on requests that make a model work: the first reply is every reply (see answer/replies.py)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

from tuneloop.answer import replies
from tuneloop.errors import TuneloopError
from tuneloop.gateway.wire import Client

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk


class Once:
    """Does nothing for requests without the header; for the others two transactions, in a thread."""

    __slots__ = ("_desk", "_key", "_mine", "_sent", "_tenant")

    def __init__(self, desk: Desk, client: Client) -> None:
        self._desk = desk
        self._key = client.headers.get(b"idempotency-key", b"").decode("latin-1")
        self._mine = False  # the key belongs to this request, which must say how it ended
        self._tenant = ""
        self._sent: list[bytes] = []

    async def replayed(self, exchange: Any) -> bool:
        """Whether the first reply of this key was sent again. Raises Conflict for another body, or while it runs."""
        if not self._key:
            return False
        self._tenant = exchange.caller.tenant
        digest = hashlib.sha256(exchange.ask.path + exchange.ask.body).hexdigest()
        row, lease = exchange.row, exchange.until - exchange.ask.began + 10
        exchange.row = None  # until it is known that this request is the first: the others have no row of their own
        found = await asyncio.to_thread(
            replies.begin, self._desk.workspace, self._tenant, self._key, digest, call=row.id, lease=lease
        )
        if found is None:
            self._mine, exchange.row = True, row
            return False
        head = b"x-tuneloop-call: %b\r\nidempotency-replayed: true\r\n" % found.call.encode()
        if found.media_type == "text/event-stream":
            exchange.ask.open_stream(head)
            exchange.out = (0, b"", found.body)
        else:
            exchange.out = (found.status, head, found.body)
        return True

    def sent(self, events: bytes) -> None:
        """A piece of a stream went out."""
        if self._mine:
            self._sent.append(events)

    async def close(self, exchange: Any) -> None:
        """Store what is about to be answered; free the key when nothing was, or when a stream was cut."""
        if not self._mine:
            return
        call, out, cut = exchange.row.id, exchange.out, exchange.row.status == "truncated"
        try:
            if out is None or cut:
                await asyncio.to_thread(replies.abandon, self._desk.workspace, self._tenant, self._key, call=call)
                return
            status, body = (out[0], out[2]) if out[0] else (200, b"".join(self._sent) + out[2])
            await asyncio.to_thread(
                replies.finish, self._desk.workspace, self._tenant, self._key, call=call, status=status, body=body
            )
        except TuneloopError as problem:
            # The answer is there and is not withheld; its key stays taken until the lease ends.
            self._desk.log.error("the reply of call %s could not be stored: %s", call, problem.message)
