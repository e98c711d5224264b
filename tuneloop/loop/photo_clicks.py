"""What people say of a search's products: right, wrong, that one, not in the catalogue; and products they propose.

One verdict of a person on one product for one photo is one row, committed before anybody is told that it was taken; the
same click again is the same row. It counts from the next search on. Undoing keeps the row and takes its effect.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from tuneloop.db.photo_tables import catalogue_items, new_products, photo_feedback, photo_queries
from tuneloop.errors import BadInput, Conflict, Missing
from tuneloop.loop import photo_comparison
from tuneloop.texts import _
from tuneloop.workspace import Workspace

VERDICTS = ("right", "wrong", "pointed", "absent", "comment")
ON_A_PRODUCT = ("right", "wrong", "pointed")
MOST_TEXT = 2000
MOST_NAME = 200


def record(
    workspace: Workspace, query: str, verdict: str, *, item: str = "", user: str = "", text: str = "", tenant: str = ""
) -> str:
    """Commit one verdict and return its id; the same again changes nothing and returns the same id.

    item: the product, for "right", "wrong", "pointed", and for a comment where it is about one. Raises BadInput for a
    verdict that makes no sense, Missing for a search or product that the tenant does not have, Conflict when this
    person said otherwise of it before.
    """
    _check(verdict, item, text)
    kind = "comment" if verdict == "comment" else "verdict"
    about = {"query": query, "user": user, "item": item, "kind": kind}
    theirs = [photo_feedback.c[name] == value for name, value in about.items()]
    with workspace.db.write() as rows:
        asked = select(photo_queries.c.id).where(photo_queries.c.id == query, photo_queries.c.tenant == tenant)
        if rows.execute(asked).first() is None:
            raise Missing(_("there is no search '{id}'").format(id=query[:80]), fix=_("Search with the photo again."))
        if item:
            mine = (catalogue_items.c.tenant == tenant, catalogue_items.c.id == item)
            if rows.execute(select(catalogue_items.c.id).where(*mine)).first() is None:
                raise Missing(_("there is no product '{id}'").format(id=item[:80]))
        identity = _stored(rows, theirs, about, verdict, text.strip(), tenant)
    photo_comparison.note(workspace, query, user, tenant=tenant)
    return identity


def _stored(rows: Connection, theirs: list[Any], about: dict[str, str], verdict: str, text: str, tenant: str) -> str:
    known = rows.execute(select(photo_feedback).where(*theirs)).first()
    if known is not None and known.undone is None and about["kind"] == "verdict":
        return _same(known, verdict)
    said = {"verdict": verdict, "text": text, "time": time.time(), "undone": None}
    if known is not None:
        rows.execute(update(photo_feedback).where(photo_feedback.c.id == known.id).values(**said))
        return str(known.id)
    identity = "pf-" + uuid.uuid4().hex[:20]
    fresh = {"id": identity, "tenant": tenant, "excluded": False, "quality": None, "used": ""}
    rows.execute(insert(photo_feedback), [about | said | fresh])
    return identity


def undo(workspace: Workspace, query: str, *, item: str = "", user: str = "", tenant: str = "") -> None:
    """Take back what this person said of this product for this photo. Raises Missing when nothing stands."""
    wanted = (
        photo_feedback.c.query == query,
        photo_feedback.c.user == user,
        photo_feedback.c.item == item,
        photo_feedback.c.kind == "verdict",
        photo_feedback.c.tenant == tenant,
        photo_feedback.c.undone.is_(None),
    )
    with workspace.db.write() as rows:
        if not rows.execute(update(photo_feedback).where(*wanted).values(undone=time.time())).rowcount:
            raise Missing(_("there is nothing to undo"))
    photo_comparison.note(workspace, query, user, tenant=tenant)


def review(
    workspace: Workspace,
    feedback: str,
    *,
    quality: int | None = None,
    excluded: bool | None = None,
    tenant: str = "",
) -> None:
    """What an admin thinks of an example: 1 to 5, and whether training leaves it out. Raises BadInput, Missing."""
    if quality is not None and not 1 <= quality <= 5:
        raise BadInput(_("quality is a number from 1 to 5, not {n}").format(n=quality))
    values: dict[str, Any] = {} if quality is None else {"quality": quality}
    if excluded is not None:
        values |= {"excluded": excluded, "time": time.time()}
    mine = (photo_feedback.c.id == feedback, photo_feedback.c.tenant == tenant)
    with workspace.db.write() as rows:
        if not values or not rows.execute(update(photo_feedback).where(*mine).values(**values)).rowcount:
            raise Missing(_("there is no feedback '{id}'").format(id=feedback[:80]))


def votes(workspace: Workspace, *, tenant: str = "", limit: int = 0) -> list[Any]:
    """Verdicts that stand, newest first, each with `photo` and `asked` of its search; at most `limit` of one user."""
    wanted = (
        photo_feedback.c.tenant == tenant,
        photo_feedback.c.undone.is_(None),
        photo_feedback.c.excluded.is_(False),
        photo_feedback.c.verdict.in_((*ON_A_PRODUCT, "absent")),
    )
    columns = (photo_feedback, photo_queries.c.photo, photo_queries.c.time.label("asked"))
    joined = select(*columns).join(photo_queries, photo_queries.c.id == photo_feedback.c.query).where(*wanted)
    with workspace.db.read() as rows:
        found = list(rows.execute(joined.order_by(photo_feedback.c.time.desc(), photo_feedback.c.id)))
    counted: Counter[str] = Counter()
    kept = []
    for row in found:
        counted[row.user] += 1
        if not limit or not row.user or counted[row.user] <= limit:
            kept.append(row)
    return kept


def concentration(workspace: Workspace, *, tenant: str = "") -> list[tuple[str, int]]:
    """(user, verdicts that stand), most first: one name with most of them may be a mistake or an attack."""
    return Counter(row.user for row in votes(workspace, tenant=tenant)).most_common()


def propose(
    workspace: Workspace,
    query: str,
    name: str,
    *,
    category: str = "",
    price: str = "",
    user: str = "",
    tenant: str = "",
) -> str:
    """A product that a user misses, with the photo of the search; it waits for `decide`. Raises BadInput, Missing.

    The same proposal of the same person again is the one that waits already.
    """
    said = [text.strip() for text in (name, category, price)]
    if not said[0] or any(len(text) > MOST_NAME for text in said):
        raise BadInput(_("a product needs a name of at most {n} characters").format(n=MOST_NAME))
    mine = (photo_queries.c.id == query, photo_queries.c.tenant == tenant)
    identity = "np-" + uuid.uuid4().hex[:20]
    with workspace.db.write() as rows:
        asked = rows.execute(select(photo_queries.c.path).where(*mine)).first()
        if asked is None:
            raise Missing(_("there is no search '{id}'").format(id=query[:80]), fix=_("Search with the photo again."))
        row = {"tenant": tenant, "query": query, "user": user, "path": asked.path, "state": "pending"}
        row |= dict(zip(("name", "category", "price"), said, strict=True))
        same = [new_products.c[name] == value for name, value in row.items()]
        if known := rows.execute(select(new_products.c.id).where(*same)).scalar():
            return str(known)
        undecided = {"time": time.time(), "decided": None, "decided_by": "", "item": ""}
        rows.execute(insert(new_products), [{"id": identity} | row | undecided])
    return identity


def proposals(workspace: Workspace, *, tenant: str = "", state: str = "pending") -> list[Any]:
    """Proposed products in this state, oldest first."""
    wanted = (new_products.c.tenant == tenant, new_products.c.state == state)
    with workspace.db.read() as rows:
        return list(rows.execute(select(new_products).where(*wanted).order_by(new_products.c.time)))


def decide(workspace: Workspace, proposal: str, state: str, *, by: str, item: str = "", tenant: str = "") -> Any:
    """Mark a proposal "approved" (as product `item`) or "rejected" and return it; only once.

    Raises Missing, and Conflict when it was decided before.
    """
    mine = (new_products.c.id == proposal, new_products.c.tenant == tenant)
    with workspace.db.write() as rows:
        found = rows.execute(select(new_products).where(*mine)).first()
        if found is None:
            raise Missing(_("there is no proposed product '{id}'").format(id=proposal[:80]))
        if found.state != "pending":
            raise Conflict(_("'{name}' was decided before: {state}").format(name=found.name, state=found.state))
        said = {"state": state, "decided": time.time(), "decided_by": by, "item": item}
        rows.execute(update(new_products).where(*mine).values(**said))
    return found


def _check(verdict: str, item: str, text: str) -> None:
    if verdict not in VERDICTS:
        raise BadInput(
            _("'{verdict}' is no verdict").format(verdict=verdict[:40]),
            fix=_("Use one of: {kinds}.").format(kinds=", ".join(VERDICTS)),
        )
    if verdict != "comment" and (verdict in ON_A_PRODUCT) != bool(item):
        raise BadInput(
            _("'{verdict}' needs a product").format(verdict=verdict)
            if not item
            else _("'{verdict}' is said of the photo, not of a product").format(verdict=verdict)
        )
    if len(text) > MOST_TEXT or (verdict == "comment" and not text.strip()):
        raise BadInput(_("the text must have 1 to {n} characters").format(n=MOST_TEXT))


def _same(known: Row[Any], verdict: str) -> str:
    if known.verdict != verdict:
        raise Conflict(
            _("you said '{verdict}' of this before").format(verdict=known.verdict), fix=_("Undo that first.")
        )
    return str(known.id)
