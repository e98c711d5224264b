"""Trained versions of photo search belong to the team they were trained for.

Before, one version searched for every team, whoever had trained it. Now it searches for its own team only, and every
team searches with the newest of its own versions that ever did: training of one team took the place of another's.
"""

from __future__ import annotations

import time
from typing import Any

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    MetaData,
    Table,
    Text,
    insert,
    select,
    update,
)

revision = "0008"
down_revision = "0007"

metadata = MetaData()
versions = Table(
    "versions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text),
    Column("active", Boolean),
    Column("meta", JSON),
)
events = Table(
    "version_events",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("version", Text),
    Column("time", BigInteger),
    Column("event", Text),
    Column("note", Text),
    Column("previous", Text),
)
experiments = Table(
    "experiments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text),
    Column("task", Text),
    Column("design", JSON),
    Column("state", Text),
)
experiment_events = Table(
    "experiment_events",
    metadata,
    Column("experiment", Text),
    Column("time", Float),
    Column("event", Text),
    Column("note", Text),
    Column("by", Text),
)
NOTE = "every team has its own versions since migration 0008"


def upgrade() -> None:
    """Changes rows only, and only where a team has trained."""
    rows = op.get_bind()
    found = rows.execute(select(versions).where(versions.c.kind == "photos")).all()
    team = {row.id: str((row.meta or {}).get("tenant") or "") for row in found}
    if not any(team.values()):
        return
    for identity, tenant in team.items():
        if tenant:
            rows.execute(update(versions).where(versions.c.id == identity).values(kind=f"photos:{tenant}"))
    last = _own_events(rows, team)
    active = {team[row.id] for row in found if row.active}
    for tenant, identity in last.items():
        if tenant not in active:
            rows.execute(update(versions).where(versions.c.id == identity).values(active=True))
            _note(rows, identity)
    _end_mixed(rows, team)


def _own_events(rows: Connection, team: dict[str, str]) -> dict[str, str]:
    """Let each switch's `previous` be the same team's, for the roll back; {team: the version it switched to last}."""
    last: dict[str, str] = {}
    before: dict[str, str | None] = {}
    switched = (events.c.event.in_(("activated", "rolled_back")), events.c.version.in_(list(team)))
    for row in rows.execute(select(events).where(*switched).order_by(events.c.id)).all():
        own = last.get(team[row.version])
        # The same version again: another team's was active in between, which was no step of this team.
        before[row.version] = before.get(row.version) if own == row.version else own
        if row.previous != before[row.version]:
            rows.execute(update(events).where(events.c.id == row.id).values(previous=before[row.version]))
        last[team[row.version]] = row.version
    return last


def _note(rows: Connection, identity: str) -> None:
    said: dict[str, Any] = {"version": identity, "time": int(time.time()), "event": "rolled_back", "note": NOTE}
    rows.execute(insert(events), [said | {"previous": None}])


def _end_mixed(rows: Connection, team: dict[str, str]) -> None:
    """A comparison with another team's version ends: what it compares with is not there any more."""
    running = (experiments.c.task == "photos:search", experiments.c.state == "running")
    for row in rows.execute(select(experiments).where(*running)).all():
        arms = {arm["variant"] for arm in row.design["arms"]} - {"start"}
        if any(team.get(one) != row.tenant for one in arms):
            rows.execute(update(experiments).where(experiments.c.id == row.id).values(state="stopped"))
            said = {"experiment": row.id, "time": time.time(), "event": "stopped", "note": NOTE, "by": "migration"}
            rows.execute(insert(experiment_events), [said])
