"""The Telegram bot: updates it was sent, dialogues, pictures that Telegram has."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, MetaData, Table, Text, text

revision = "0006"
down_revision = "0005"

metadata = MetaData()

bot_updates = Table(
    "bot_updates",
    metadata,
    Column("bot", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Float, nullable=False),
    Column("user", Text, nullable=False),
    Column("body", JSON(none_as_null=True)),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("note", Text, nullable=False),
)
Index(
    "bot_updates_pending",
    bot_updates.c.bot,
    bot_updates.c.id,
    sqlite_where=text("state = 'pending'"),
    postgresql_where=text("state = 'pending'"),
)

bot_dialogues = Table(
    "bot_dialogues",
    metadata,
    Column("bot", BigInteger, primary_key=True, autoincrement=False),
    Column("user", Text, primary_key=True),
    Column("expects", JSON, nullable=False),
    Column("changed", Float, nullable=False),
)

bot_files = Table(
    "bot_files",
    metadata,
    Column("bot", BigInteger, primary_key=True, autoincrement=False),
    Column("picture", Text, primary_key=True),
    Column("file", Text, nullable=False),
)


def upgrade() -> None:
    """Three tables; nothing that was there changes."""
    metadata.create_all(op.get_bind())
