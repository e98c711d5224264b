"""An upload on its way to a table: how far it is, and its end when the client leaves.

Loading takes a minute for 150 MB, longer than people wait without a sign. The client gives its upload a name and asks
with it; nothing of this is kept when the upload is through.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from tuneloop.access.caller import Caller
from tuneloop.ask import uploads
from tuneloop.ask.uploads import Load
from tuneloop.errors import Conflict, TuneloopError
from tuneloop.progress import Stopped
from tuneloop.texts import _

if TYPE_CHECKING:
    from tuneloop.gateway.desk import Desk

LOOK = 0.3  # seconds between two looks whether the client is still there


@contextmanager
def named(desk: Desk, caller: Caller, name: str) -> Iterator[Load]:
    """The state of an upload, found under its name until it is through. Raises Conflict for a name in use."""
    load = Load("receiving")
    if not name:
        yield load
        return
    place = (caller.tenant, name)
    if place in desk.tables.loads:
        raise Conflict(_("an upload of this name is under way"), fix=_("Give each upload a name of its own."))
    desk.tables.loads[place] = load
    try:
        yield load
    finally:
        del desk.tables.loads[place]


async def registered(request: Request, desk: Desk, identity: str, caller: Caller, load: Load) -> None:
    """`uploads.register`; a client that leaves meanwhile ends the load, and nothing of it is kept.

    Raises ClientDisconnect then, else what `uploads.register` raises.
    """
    gone = threading.Event()

    def watch(stage: str, done: float, total: float | None) -> None:
        if gone.is_set():
            raise Stopped
        load.watch(stage, done, total)

    work = asyncio.ensure_future(
        asyncio.to_thread(uploads.register, desk.workspace, identity, tenant=caller.tenant, key=caller.key, watch=watch)
    )
    while not work.done():
        await asyncio.wait({work}, timeout=LOOK)
        if not work.done() and await request.is_disconnected():
            gone.set()
    try:
        made = await work
    except TuneloopError:
        if gone.is_set():
            raise ClientDisconnect from None
        raise
    if gone.is_set():  # it was loaded before it could be stopped
        await asyncio.to_thread(uploads.drop, desk.workspace, made.id, tenant=caller.tenant)
        raise ClientDisconnect
