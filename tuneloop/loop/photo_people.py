"""What photo search keeps of one person: shown to them, and removed when they ask for it.

A person is known by an opaque name ("tg:1234"). Removing takes their searches, clicks, comments, proposals and photos,
with what was computed of the photos; products that an admin made of a proposal belong to the shop and stay. Weights
cannot be edited: versions that learned from the person's clicks are named instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, text, update

from tuneloop.db.bot_tables import bot_dialogues, bot_updates
from tuneloop.db.photo_tables import catalogue_pictures, new_products, photo_feedback, photo_queries, picture_vectors
from tuneloop.db.tables import outcomes
from tuneloop.errors import BadInput, Missing
from tuneloop.loop import photo_switch
from tuneloop.texts import _
from tuneloop.workspace import Workspace


@dataclass(frozen=True)
class Removed:
    """What `forget` removed. `versions` learned from the person's clicks and still do what those taught."""

    searches: int
    clicks: int
    proposals: int
    photos: int
    versions: tuple[str, ...]


def search_of(workspace: Workspace, query: str, user: str, *, tenant: str = "", since: float = 0.0) -> Any:
    """The row of a search that this person made after `since` (Unix seconds). Raises Missing, BadInput when older."""
    mine = (photo_queries.c.id == query, photo_queries.c.tenant == tenant, photo_queries.c.user == user)
    with workspace.db.read() as rows:
        found = rows.execute(select(photo_queries).where(*mine)).first()
    if found is None:
        raise Missing(_("that search is not there any more"), fix=_("Send the photo again."))
    if found.time < since:
        raise BadInput(_("these buttons are too old"), fix=_("Send the photo again."))
    return found


def searches_since(workspace: Workspace, user: str, since: float, *, tenant: str = "") -> int:
    """How many photos this person searched with since then (Unix seconds)."""
    mine = (photo_queries.c.tenant == tenant, photo_queries.c.time >= since, photo_queries.c.user == user)
    with workspace.db.read() as rows:
        return int(rows.execute(select(func.count()).select_from(photo_queries).where(*mine)).scalar_one())


def said_of(workspace: Workspace, query: str, user: str, *, tenant: str = "") -> dict[str, str]:
    """{product: verdict} that stand of this person for this search."""
    mine = (photo_feedback.c.query == query, photo_feedback.c.user == user, photo_feedback.c.tenant == tenant)
    stands = (photo_feedback.c.kind == "verdict", photo_feedback.c.undone.is_(None))
    with workspace.db.read() as rows:
        found = rows.execute(select(photo_feedback.c.item, photo_feedback.c.verdict).where(*mine, *stands))
        return {row.item: row.verdict for row in found}


def kept_of(workspace: Workspace, user: str, *, tenant: str = "") -> dict[str, list[dict[str, Any]]]:
    """Every row about this person: searches, clicks and comments, proposed products; oldest first."""
    tables = {"searches": photo_queries, "clicks": photo_feedback, "proposals": new_products}
    found: dict[str, list[dict[str, Any]]] = {}
    with workspace.db.read() as rows:
        for name, table in tables.items():
            mine = select(table).where(table.c.user == user, table.c.tenant == tenant)
            found[name] = [dict(row._mapping) for row in rows.execute(mine.order_by(table.c.time))]
    return found


def forget(workspace: Workspace, user: str, *, tenant: str = "") -> Removed:
    """Remove the person; see the module. Raises BadInput for an empty name, Unavailable, Conflict as `db.write`."""
    if not user:
        raise BadInput(_("a person needs a name"))
    kept = kept_of(workspace, user, tenant=tenant)
    photos = {row["photo"] for row in kept["searches"]}
    trained = _versions_taught_by(workspace, {row["id"] for row in kept["clicks"]}, tenant)
    theirs = [row["id"] for row in kept["searches"]]
    with workspace.db.write() as rows:
        for table in (new_products, photo_feedback):
            rows.execute(delete(table).where(table.c.user == user, table.c.tenant == tenant))
        for part in _parts(theirs):  # what others said of their photos would point nowhere
            rows.execute(delete(photo_feedback).where(photo_feedback.c.query.in_(part)))
            rows.execute(delete(photo_queries).where(photo_queries.c.id.in_(part)))
        for part in _parts(theirs):  # what comparisons of versions measured on them
            rows.execute(delete(outcomes).where(outcomes.c.call.in_(part)))
        if not tenant:  # the bot is of no team; another team's person may bear the same name
            rows.execute(delete(bot_dialogues).where(bot_dialogues.c.user == user))
            rows.execute(update(bot_updates).where(bot_updates.c.user == user).values(user="", body=None))
        gone = photos - _wanted(rows, photos)
        for part in _parts(sorted(gone)):
            rows.execute(delete(picture_vectors).where(picture_vectors.c.id.in_(part)))
    for photo in gone:
        for copy in (workspace.path / "photos" / photo[:2]).glob(f"{photo}.*"):
            copy.unlink(missing_ok=True)
    _wipe_free_pages(workspace)
    return Removed(len(theirs), len(kept["clicks"]), len(kept["proposals"]), len(gone), trained)


def _wanted(rows: Connection, photos: set[str]) -> set[str]:
    """Those of the photos that the catalogue or somebody else's search still has."""
    found: set[str] = set()
    for part in _parts(sorted(photos)):
        found |= set(rows.execute(select(photo_queries.c.photo).where(photo_queries.c.photo.in_(part))).scalars())
        found |= set(rows.execute(select(catalogue_pictures.c.id).where(catalogue_pictures.c.id.in_(part))).scalars())
        paths = [new_products.c.path.like(f"%{photo}%") for photo in part]
        for path in rows.execute(select(new_products.c.path).where(or_(*paths))).scalars():
            found |= {photo for photo in part if photo in path}
    return found


def _parts(ids: list[str]) -> Iterable[list[str]]:
    return [ids[start : start + 200] for start in range(0, len(ids), 200)]


def _versions_taught_by(workspace: Workspace, clicks: set[str], tenant: str) -> tuple[str, ...]:
    taught = []
    for version in photo_switch.listed(workspace, tenant=tenant):
        evidence = workspace.path / version.path / "evidence.json"
        if evidence.exists() and clicks & set(json.loads(evidence.read_text(encoding="utf-8")).get("feedback", ())):
            taught.append(version.id)
    return tuple(taught)


def _wipe_free_pages(workspace: Workspace) -> None:
    """Deleted rows stay readable in an SQLite file's free pages and log until both are rewritten."""
    if not workspace.db.is_sqlite:
        return
    with workspace.db.engine.connect() as connection:
        connection.execute(text("VACUUM"))
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
