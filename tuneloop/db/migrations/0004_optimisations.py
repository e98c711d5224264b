"""Optimisations: what was asked, how far it is, and every sample that was measured."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text

revision = "0004"
down_revision = "0003"

metadata = MetaData()
# Only so that the foreign key finds its table; it has been there since 0001.
Table("versions", metadata, Column("id", Text, primary_key=True))

optimisations = Table(
    "optimisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("version", Text, ForeignKey("versions.id"), nullable=False),
    Column("ladder", JSON, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("targets", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("error", Text, nullable=False),
    Column("by", Text, nullable=False),
)
Index("optimisations_by_fingerprint", optimisations.c.fingerprint)

optimisation_samples = Table(
    "optimisation_samples",
    metadata,
    Column("optimisation", Text, ForeignKey("optimisations.id"), primary_key=True),
    Column("rung", Text, primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("figures", JSON, nullable=False),
    Column("time", Float, nullable=False),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[optimisations, optimisation_samples])
