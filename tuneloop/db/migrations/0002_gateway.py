"""The gateway: whose a call is, what answered it and why; keys, experiments, scores, health."""

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

revision = "0002"
down_revision = "0001"

serial = BigInteger().with_variant(Integer, "sqlite")
metadata = MetaData()

# API keys: only a hash, from which the key cannot be found again.
keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),  # reader user admin
    Column("scopes", JSON, nullable=False),  # task names it may ask; [] = all
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("used", Float),  # last use, written at most once a minute
    Column("replaces", Text, nullable=False, server_default=""),  # the key it was rotated from
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("task", Text, nullable=False),  # a task, or a model id
    Column("design", JSON, nullable=False),  # arms, weights, layer, share, metrics, guardrails, method, mode ...
    Column("salt", Text, nullable=False),
    Column("state", Text, nullable=False),  # running stopped promoted rolled_back
    Column("created", Float, nullable=False),
    Column("ends", Float),
    Column("verdict", JSON(none_as_null=True)),
    UniqueConstraint("tenant", "name"),
)

experiment_events = Table(
    "experiment_events",
    metadata,
    Column("id", serial, primary_key=True),
    Column("experiment", Text, ForeignKey("experiments.id"), nullable=False),
    Column("time", Float, nullable=False),
    Column("event", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("by", Text, nullable=False, server_default=""),
)

# What was measured of one unit under one arm; `key` makes a repeated report the same fact.
outcomes = Table(
    "outcomes",
    metadata,
    Column("id", serial, primary_key=True),
    Column("experiment", Text, ForeignKey("experiments.id"), nullable=False),
    Column("arm", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("value", Float, nullable=False),
    Column("time", Float, nullable=False),
    Column("call", Text, nullable=False, server_default=""),
    Column("key", Text, nullable=False),
    UniqueConstraint("experiment", "key"),
)
Index("outcomes_by_metric", outcomes.c.experiment, outcomes.c.metric)

# Idempotency-Key of requests that made a model work: the first reply is every reply.
replies = Table(
    "replies",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body", Text, nullable=False),  # sha256 of the request
    Column("status", Integer, nullable=False),
    Column("reply", Text, nullable=False),
    Column("call", Text, nullable=False),
    Column("time", Float, nullable=False),
)
Index("replies_by_time", replies.c.time)

# What a judge (a rule, an encoder, a model) said of an answer, beside which people's clicks are laid.
scores = Table(
    "scores",
    metadata,
    Column("call", Text, primary_key=True),
    Column("criterion", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("value", Float, nullable=False),  # 0 to 1
    Column("detail", JSON(none_as_null=True)),
    Column("time", Float, nullable=False),
)

# Every change of a quality switch: on or off, at which threshold, on what evidence.
switches = Table(
    "switches",
    metadata,
    Column("id", serial, primary_key=True),
    Column("task", Text, nullable=False),
    Column("time", Float, nullable=False),
    Column("on", Boolean, nullable=False),
    Column("threshold", Float),
    Column("evidence", JSON, nullable=False),
)

health = Table(
    "health",
    metadata,
    Column("time", Float, primary_key=True),
    Column("sample", JSON, nullable=False),
)


def upgrade() -> None:
    for column in calls_columns():
        op.add_column("calls", column)
    op.create_index(
        "calls_by_experiment",
        "calls",
        ["experiment"],
        sqlite_where=text("experiment != ''"),
        postgresql_where=text("experiment != ''"),
    )
    op.add_column("feedback", Column("tenant", Text, nullable=False, server_default=""))
    op.create_index("feedback_by_call", "feedback", ["call"])
    metadata.create_all(op.get_bind())


def calls_columns() -> list[Column[object]]:
    return [
        Column("tenant", Text, nullable=False, server_default=""),
        Column("key", Text, nullable=False, server_default=""),  # id of the API key, never the key
        Column("kind", Text, nullable=False, server_default="chat"),  # chat completion embedding
        Column("task", Text, nullable=False, server_default=""),
        Column("variant", Text, nullable=False, server_default=""),
        Column("engine", Text, nullable=False, server_default=""),
        Column("model", Text, nullable=False, server_default=""),
        Column("reason", Text, nullable=False, server_default=""),  # why this variant: "weighted", "experiment:ID", ...
        Column("propensity", Float, nullable=False, server_default="1"),  # probability with which it was chosen
        Column("experiment", Text, nullable=False, server_default=""),
        Column("arm", Text, nullable=False, server_default=""),
        Column("cached", Boolean, nullable=False, server_default=text("false")),
        Column("attempts", Integer, nullable=False, server_default="1"),
        Column("first_ms", Float),  # a stream's first piece
        Column("quality", Float),  # 0 to 1, as the task's checks score it
        Column("cost", Float, nullable=False, server_default="0"),  # in the currency of the variant's prices
        Column("code", Text, nullable=False, server_default=""),  # kind of error: "timeout", "engine_down", ...
        Column("tags", JSON(none_as_null=True)),
        Column("parent", Text, nullable=False, server_default=""),  # the call it shadows, replays or replaces
    ]
