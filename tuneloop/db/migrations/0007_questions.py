"""Questions of tables: uploaded files, answers, and what people said of them."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, MetaData, Table, Text

revision = "0007"
down_revision = "0006"

metadata = MetaData()

table_files = Table(
    "table_files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("columns", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("key", Text, nullable=False),
)
Index("table_files_by_tenant", table_files.c.tenant, table_files.c.created)

table_answers = Table(
    "table_answers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("columns", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("sql", Text, nullable=False),
    Column("sure", Float, nullable=False),
    Column("route", Text, nullable=False),
    Column("time", Float, nullable=False),
    Column("user", Text, nullable=False),
)
Index("table_answers_by_source", table_answers.c.tenant, table_answers.c.source, table_answers.c.time)

table_questions = Table(
    "table_questions",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("columns", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("sql", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("shape", JSON, nullable=False),
    Column("time", Float, nullable=False),
    Column("user", Text, nullable=False),
)
Index("table_questions_by_columns", table_questions.c.tenant, table_questions.c.columns, table_questions.c.time)


def upgrade() -> None:
    """Three tables; nothing that was there changes."""
    metadata.create_all(op.get_bind())
