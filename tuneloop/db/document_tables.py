"""Tables of documents that a model answers from: collections, their documents, the passages those are cut into.

Every row names its team: no query finds a row without it. `revision` of a collection is new with every change of its
rows and never comes again, so an index made of them elsewhere knows whether it is still right.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKeyConstraint, Integer, Table, Text

from tuneloop.db.tables import metadata

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
    Column("hash", Text, nullable=False),  # of text and metadata: the same again changes nothing
    Column("metadata", JSON, nullable=False),
    Column("characters", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),  # when it was last sent, changed or not
    ForeignKeyConstraint(["tenant", "collection"], ["collections.tenant", "collections.name"]),
)

passages = Table(
    "passages",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("document", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 0, in the document's order
    Column("text", Text, nullable=False),
    Column("lemmas", Text, nullable=False),  # what it is found by, separated by spaces
    ForeignKeyConstraint(
        ["tenant", "collection", "document"], ["documents.tenant", "documents.collection", "documents.id"]
    ),
)
