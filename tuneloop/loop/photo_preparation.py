"""What the first search would wait for, done before it comes: libraries, encoder, a child's files, the catalogue.

A server does it in the background once it listens: the first photo over 10,000 products took 0.44 s, now 0.08.
"""

from __future__ import annotations

import numpy as np
from sqlalchemy import func, select

from tuneloop.db.photo_tables import catalogue_pictures, photo_queries
from tuneloop.encoders import picture
from tuneloop.loop.photos import Finder
from tuneloop.search import vectors
from tuneloop.workspace import Workspace


def is_wanted(workspace: Workspace) -> bool:
    """Whether any team has a catalogue with pictures."""
    with workspace.db.read() as rows:
        return rows.execute(select(catalogue_pictures.c.tenant).limit(1)).first() is not None


def teams(workspace: Workspace) -> list[str]:
    """Teams whose catalogue has pictures, the one that searched last first."""
    newest = func.max(photo_queries.c.time).label("last")
    last = select(photo_queries.c.tenant, newest).group_by(photo_queries.c.tenant)
    with workspace.db.read() as rows:
        found = sorted(rows.execute(select(catalogue_pictures.c.tenant).distinct()).scalars())
        asked = [(row.tenant, float(row.last)) for row in rows.execute(last)] if found else []
    times = dict(asked)
    return sorted(found, key=lambda tenant: -times.get(tenant, 0.0))


def prepare(finder: Finder) -> None:
    """Everything but a search. Raises what a search raises for a catalogue or version that cannot be used."""
    state = finder.state()
    side = state.encoder.side
    blank = state.encoder.pictures(np.zeros((1, side, side, 3), dtype=np.uint8))
    state.index.scores(state.map.queries(blank))  # reads the matrix, which is mapped from the disk
    first = next(identity for item in state.items for identity, _path in item.pictures)
    picture.read([finder.workspace.path / vectors.place(first)], side)  # whether it can be read is no matter
