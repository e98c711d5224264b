"""Documents that a model answers from: collections, documents, passages."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Column, Float, ForeignKeyConstraint, Integer, MetaData, Table, Text

revision = "0005"
down_revision = "0004"

metadata = MetaData()

collections = Table(
    "collections",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("characters", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),
    ForeignKeyConstraint(["tenant", "collection"], ["collections.tenant", "collections.name"]),
)

passages = Table(
    "passages",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("document", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("lemmas", Text, nullable=False),
    ForeignKeyConstraint(
        ["tenant", "collection", "document"], ["documents.tenant", "documents.collection", "documents.id"]
    ),
)


def upgrade() -> None:
    """Three tables; nothing that was there changes."""
    metadata.create_all(op.get_bind())
