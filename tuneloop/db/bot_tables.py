"""The rows of the Telegram bot: what it was sent, what it waits for, what Telegram already has.

Answers to a message may be lost with a crash, messages may not: each is a row before Telegram is told that it came.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, Table, Text, text

from tuneloop.db.tables import metadata

# One row per update of a bot; what people wrote is dropped from it when the work is done.
bot_updates = Table(
    "bot_updates",
    metadata,
    Column("bot", BigInteger, primary_key=True, autoincrement=False),  # the number before the token's colon
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # update_id
    Column("time", Float, nullable=False),
    Column("user", Text, nullable=False),
    Column("body", JSON(none_as_null=True)),
    Column("state", Text, nullable=False),  # pending done failed
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

# What the next words of a person are the answer to.
bot_dialogues = Table(
    "bot_dialogues",
    metadata,
    Column("bot", BigInteger, primary_key=True, autoincrement=False),
    Column("user", Text, primary_key=True),
    Column("expects", JSON, nullable=False),
    Column("changed", Float, nullable=False),
)

# Telegram keeps what it was sent under a name of its own: a picture is uploaded once per bot.
bot_files = Table(
    "bot_files",
    metadata,
    Column("bot", BigInteger, primary_key=True, autoincrement=False),
    Column("picture", Text, primary_key=True),  # path relative to the workspace
    Column("file", Text, nullable=False),
)
