"""Examples as an admin looks through them: photo, product, who said what, what an admin thought of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from tuneloop.db.photo_tables import photo_feedback, photo_queries
from tuneloop.errors import Missing
from tuneloop.loop.photo_clicks import ON_A_PRODUCT
from tuneloop.texts import _
from tuneloop.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Example:
    """One click on a product that stands. `photo`: path relative to the workspace; `quality`: 1 to 5 or None."""

    id: str
    photo: str
    item: str
    verdict: str
    user: str
    text: str
    quality: int | None
    excluded: bool
    used: str
    number: int  # 1 for the newest
    count: int


def at(workspace: Workspace, number: int, *, tenant: str = "") -> Example:
    """The example of this number, newest first from 1; beyond the ends it is the end. Raises Missing for none."""
    wanted = (
        photo_feedback.c.tenant == tenant,
        photo_feedback.c.undone.is_(None),
        photo_feedback.c.verdict.in_(ON_A_PRODUCT),
    )
    joined = select(photo_feedback, photo_queries.c.path).join(
        photo_queries, photo_queries.c.id == photo_feedback.c.query
    )
    # In the order in which people searched: `time` of a click changes when an admin leaves it out.
    order = (photo_queries.c.time.desc(), photo_feedback.c.id)
    with workspace.db.read() as rows:
        count = int(rows.execute(select(func.count()).select_from(photo_feedback).where(*wanted)).scalar_one())
        if not count:
            raise Missing(_("there is no example yet"), fix=_("Send a photo and say which product is right."))
        number = min(max(number, 1), count)
        row = rows.execute(joined.where(*wanted).order_by(*order).offset(number - 1).limit(1)).one()
    return Example(
        row.id, row.path, row.item, row.verdict, row.user, row.text, row.quality, row.excluded, row.used, number, count
    )
