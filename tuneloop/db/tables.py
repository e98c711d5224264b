"""Every table. Times are Unix seconds (UTC); JSON columns hold what is only ever read whole."""

from __future__ import annotations

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

REVISION = "0008"  # the newest migration; compared as text, so revisions are numbered 0001, 0002, ...

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

# One row per request, whatever became of it. `status`: ok error truncated cancelled.
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
    # --- 0002: whose it is, what answered and why
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
)
Index("calls_by_time", calls.c.time)
Index(
    "calls_by_experiment",
    calls.c.experiment,
    sqlite_where=text("experiment != ''"),
    postgresql_where=text("experiment != ''"),
)

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
    Column("tenant", Text, nullable=False, server_default=""),  # 0002
)
Index("feedback_by_call", feedback.c.call)

# --- everything below the judgements came with 0002

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
