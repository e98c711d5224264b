"""Idempotency-Key of requests that make a model work: a client that asks again gets the first reply, not a second one.

As Stripe does it (https://docs.stripe.com/api/idempotent_requests): the first request of a key runs, and its status
and body are stored, errors included; the same key with the same body gets them again for 24 hours, whatever process
answers; with another body it is a conflict, and so is a second request while the first still runs. Only what says
"try again" by itself is not stored.

    reply = begin(workspace, tenant, key, body_sha, call=identity)
    if reply is None: ... do it, then finish(...) whatever came of it, or abandon(...) when nothing was done

A row whose status is PENDING belongs to the call that runs. Its process may die: after `lease` seconds the key is
free for the next request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from tuneloop.db.tables import replies
from tuneloop.errors import BadInput, Conflict
from tuneloop.texts import _
from tuneloop.workspace import Workspace

MAX_KEY = 255
KEPT = 86_400.0  # seconds
PENDING = 0
LEASE = 600.0  # seconds; longer than any request may take, shorter than anybody's patience
# Nothing was done: the same key may try again.
NOT_STORED = frozenset({401, 403, 408, 409, 413, 415, 429, 503})


@dataclass(frozen=True, slots=True)
class Reply:
    """What the first request was answered, and the call it was."""

    status: int
    body: bytes
    call: str

    @property
    def media_type(self) -> str:
        """Streams are stored as the events they were."""
        return "text/event-stream" if self.body.startswith(b"data:") else "application/json"


def begin(
    workspace: Workspace, tenant: str, key: str, body_sha: str, *, call: str, lease: float = LEASE
) -> Reply | None:
    """None: this request is the first and must `finish` or `abandon`; else the reply that the first one got.

    body_sha: SHA-256 of the request as hex digits. call: the id this request's call will have. lease: seconds after
    which a request that never finished is taken for dead.
    Raises BadInput for a key that is empty, longer than 255 or not printable; Conflict when the key was used with
    another body, or (with retry_after) while its first request runs.
    """
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise BadInput(_("an idempotency key has 1 to {n} printable characters").format(n=MAX_KEY))
    for _attempt in range(3):
        # Without the writer's lock first: of a thousand repeats only one has anything to write.
        with workspace.db.read() as rows:
            found = rows.execute(select(replies).where(_named(tenant, key))).first()
        now = time.time()
        if found is not None and not _stale(found, now, lease):
            return _answer(found, body_sha)
        row = {"tenant": tenant, "key": key, "body": body_sha, "status": PENDING, "reply": "", "call": call}
        try:
            with workspace.db.write() as rows:
                rows.execute(delete(replies).where(replies.c.time < now - KEPT))
                rows.execute(delete(replies).where(_named(tenant, key), _dead(now, lease)))
                rows.execute(insert(replies), [row | {"time": now}])
        except IntegrityError:  # another one was faster: look again
            continue
        return None
    raise Conflict(_busy(), fix=_wait(), retry_after=1.0)


def finish(workspace: Workspace, tenant: str, key: str, *, call: str, status: int, body: bytes) -> None:
    """Store what the request was answered, before it is answered. A status that asks to try again frees the key.

    Does nothing when the key no longer belongs to `call` (its lease ran out and another request took it).
    """
    text = body.decode("utf-8", "replace").replace("\0", "\ufffd")  # PostgreSQL's texts hold no NUL
    if status in NOT_STORED:
        abandon(workspace, tenant, key, call=call)
        return
    with workspace.db.write() as rows:
        rows.execute(
            update(replies).where(_owned(tenant, key, call)).values(status=status, reply=text, time=time.time())
        )


def abandon(workspace: Workspace, tenant: str, key: str, *, call: str) -> None:
    """Free the key: nothing was done, or nobody will ever know what (the client left before the answer began)."""
    with workspace.db.write() as rows:
        rows.execute(delete(replies).where(_owned(tenant, key, call)))


def _named(tenant: str, key: str) -> ColumnElement[bool]:
    return and_(replies.c.tenant == tenant, replies.c.key == key)


def _owned(tenant: str, key: str, call: str) -> ColumnElement[bool]:
    return and_(_named(tenant, key), replies.c.call == call, replies.c.status == PENDING)


def _dead(now: float, lease: float) -> ColumnElement[bool]:
    """As `_stale`, in SQL."""
    return or_(
        replies.c.time < now - KEPT,
        and_(replies.c.status == PENDING, replies.c.time < now - lease),
    )


def _stale(row: Row[tuple[object, ...]], now: float, lease: float) -> bool:
    return bool(row.time < now - (lease if row.status == PENDING else KEPT))


def _answer(row: Row[tuple[object, ...]], body_sha: str) -> Reply:
    if row.body != body_sha:
        raise Conflict(
            _("this idempotency key was already used for another request"),
            fix=_("Send a new key with a new request; an old key only to repeat the same one."),
        )
    if row.status == PENDING:
        raise Conflict(_busy(), fix=_wait(), retry_after=1.0)
    return Reply(row.status, row.reply.encode("utf-8"), row.call)


def _busy() -> str:
    return _("the first request with this idempotency key is still running")


def _wait() -> str:
    return _("Ask again in a second, with the same key.")
