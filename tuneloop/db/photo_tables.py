"""The rows of photo search: products, their pictures, searches, clicks, proposed products, trainings.

A photo and a catalogue picture are named by the hash of their file. Three views carry the names under which photo bots
of this kind know their tables; they are made by the migration.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from tuneloop.db.tables import metadata, serial

# A shop's products. `revision` grows with every change of the tenant's catalogue, so that a reader sees with one
# number whether what it holds in memory is still true.
catalogue_items = Table(
    "catalogue_items",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("price", Text, nullable=False),  # as the shop writes it: "129,90 ₽"
    Column("description", Text, nullable=False),
    Column("source", Text, nullable=False),  # the import it belongs to; "" when added by hand
    Column("state", Text, nullable=False),  # active retired
    Column("changed", Float, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
Index("catalogue_items_by_revision", catalogue_items.c.tenant, catalogue_items.c.revision)

# `id` is the sha256 of the file as it was given: the same file is read and encoded once.
catalogue_pictures = Table(
    "catalogue_pictures",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("path", Text, nullable=False),  # of the clean copy, relative to the workspace
    ForeignKeyConstraint(["tenant", "item"], ["catalogue_items.tenant", "catalogue_items.id"]),
)

# What an encoder made of a picture, once and for all: float32, little endian.
picture_vectors = Table(
    "picture_vectors",
    metadata,
    Column("id", Text, primary_key=True),  # sha256 of the picture
    Column("encoder", Text, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
    Column("studio", Boolean, nullable=False),  # it stands before a plain ground
)

photo_queries = Table(
    "photo_queries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("time", Float, nullable=False),
    Column("photo", Text, nullable=False),  # sha256 of the picture
    Column("path", Text, nullable=False),  # of the clean copy; "" when none is kept
    Column("version", Text, nullable=False),  # the map that searched; "" before the first
    Column("encoder", Text, nullable=False),
    Column("results", JSON, nullable=False),  # [[item, similarity], ...], best first
    Column("known", Boolean, nullable=False),  # false: "not in the catalogue"
    Column("latency_ms", Float, nullable=False),
)
Index("photo_queries_by_time", photo_queries.c.tenant, photo_queries.c.time)

# One verdict of a person on one product for one photo. Undone rows stay, so that a late retry has no effect.
photo_feedback = Table(
    "photo_feedback",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("query", Text, ForeignKey("photo_queries.id"), nullable=False),
    Column("item", Text, nullable=False),  # "" for a comment or "not in the catalogue"
    Column("kind", Text, nullable=False),  # verdict comment
    Column("verdict", Text, nullable=False),  # right wrong pointed absent comment
    Column("user", Text, nullable=False),
    Column("time", Float, nullable=False),
    Column("text", Text, nullable=False),
    Column("undone", Float),
    Column("excluded", Boolean, nullable=False),  # an admin left it out of training
    Column("quality", Integer),  # 1 to 5, as an admin sees it
    Column("used", Text, nullable=False),  # the newest version that learned from it
    UniqueConstraint("query", "user", "item", "kind"),
)
Index("photo_feedback_by_time", photo_feedback.c.tenant, photo_feedback.c.time)

new_products = Table(
    "new_products",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("price", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("state", Text, nullable=False),  # pending approved rejected
    Column("time", Float, nullable=False),
    Column("decided", Float),
    Column("decided_by", Text, nullable=False),
    Column("item", Text, nullable=False),  # the product it became
)

photo_trainings = Table(
    "photo_trainings",
    metadata,
    Column("id", serial, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("state", Text, nullable=False),  # running done failed
    Column("examples", Integer, nullable=False),
    Column("before", Float),  # recall@1 of all held-out photos
    Column("after", Float),
    Column("version", Text, nullable=False),
    Column("note", Text, nullable=False),
)
