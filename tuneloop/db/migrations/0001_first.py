"""The first schema, written out: a migration never follows the tables of today."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

revision = "0001"
down_revision = None

metadata = MetaData()

# SQLite numbers rows by itself only when the key is spelled INTEGER.
serial = BigInteger().with_variant(Integer, "sqlite")

chats = Table(
    "chats",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False, default=""),
)

messages = Table(
    "messages",
    metadata,
    Column("chat", Text, ForeignKey("chats.id"), primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("sender", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reply_to", BigInteger),
    Column("topic", BigInteger),
    Column("forwarded", Text),
    Column("edited", BigInteger),
    sqlite_with_rowid=False,
)
Index("messages_by_sender", messages.c.sender)

# One row per source file and chat read. in = kept + rejected, rejected = {reason: count}.
imports = Table(
    "imports",
    metadata,
    Column("id", serial, primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("chat", Text, nullable=False),
    Column("read", BigInteger, nullable=False),
    Column("kept", BigInteger, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("rejected", JSON, nullable=False),
)

# Who asked to be forgotten: only a salted hash stays, enough to keep a later import from reviving them.
forgotten = Table(
    "forgotten",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("time", BigInteger, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),  # first 16 hex digits of the hash of its files
    Column("path", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("card", JSON, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False, default=False),
    Column("meta", JSON, nullable=False),
    Column("verdict", JSON(none_as_null=True)),
)
# Promotion is one transaction under this index: at most one active version of a kind, whatever crashes.
Index(
    "versions_one_active",
    versions.c.kind,
    unique=True,
    sqlite_where=text("active"),
    postgresql_where=text("active"),
)

version_events = Table(
    "version_events",
    metadata,
    Column("id", serial, primary_key=True),
    Column("version", Text, ForeignKey("versions.id"), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("event", Text, nullable=False),  # registered judged activated rolled_back failed
    Column("note", Text, nullable=False, default=""),
    Column("previous", Text),  # the version that was active before
)

# What `pack` made of a version: one row per quantisation, present only after its parity check passed.
packs = Table(
    "packs",
    metadata,
    Column("version", Text, ForeignKey("versions.id"), primary_key=True),
    Column("quant", Text, primary_key=True),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("parity", JSON, nullable=False),
)

calls = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("time", Float, nullable=False),
    Column("version", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", JSON, nullable=False),
    Column("answer", Text, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Column("user", Text, nullable=False, default=""),
    Column("error", Text, nullable=False, default=""),
)
Index("calls_by_time", calls.c.time)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Text, primary_key=True),
    Column("call", Text, ForeignKey("calls.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("time", Float, nullable=False),
    Column("user", Text, nullable=False, default=""),
    Column("key", Text, nullable=False, unique=True),
)

# Clicks of `dataset audit` and `duel`: what a person judged, blind, one row per subject and rater.
judgements = Table(
    "judgements",
    metadata,
    Column("id", serial, primary_key=True),
    Column("kind", Text, nullable=False),  # "audit" | "duel"
    Column("subject", Text, nullable=False),  # dataset and example, or duel and question
    Column("verdict", Text, nullable=False),
    Column("rater", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("meta", JSON, nullable=False),
    UniqueConstraint("kind", "subject", "rater"),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind())
