"""The rows of `optimise`: what was asked, how far it is, and every sample that was measured."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, Table, Text

from tuneloop.db.tables import metadata

optimisations = Table(
    "optimisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("version", Text, ForeignKey("versions.id"), nullable=False),
    Column("ladder", JSON, nullable=False),  # quantisations, threads, context, parallel, rounds, seconds
    Column("fingerprint", Text, nullable=False),  # of version, ladder and machine: whose samples are comparable
    Column("targets", JSON, nullable=False),
    Column("state", Text, nullable=False),  # running done failed
    Column("stage", Text, nullable=False),  # what it does now, for people
    Column("done", Integer, nullable=False),  # steps of `total`
    Column("total", Integer, nullable=False),
    Column("worker", Text, nullable=False),  # host, process and its start: tells "running" from "interrupted"
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("error", Text, nullable=False),
    Column("by", Text, nullable=False),
)
Index("optimisations_by_fingerprint", optimisations.c.fingerprint)

# One row per rung and round; a rung that cannot be measured has one row that says why.
optimisation_samples = Table(
    "optimisation_samples",
    metadata,
    Column("optimisation", Text, ForeignKey("optimisations.id"), primary_key=True),
    Column("rung", Text, primary_key=True),  # "q8_0/2": quantisation and threads
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),  # measured refused failed
    Column("figures", JSON, nullable=False),
    Column("time", Float, nullable=False),
)
