"""Tables of questions asked of tables: uploaded files, answers given, and what people said of them.

Every row names its team: no query finds a row without it. `columns` is the mark of a table's columns, so a click
counts for every file of the same form.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, Table, Text

from tuneloop.db.tables import metadata

table_files = Table(
    "table_files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),  # number of columns
    Column("columns", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("key", Text, nullable=False),  # id of the API key it came with, never the key
)
Index("table_files_by_tenant", table_files.c.tenant, table_files.c.created)

table_answers = Table(
    "table_answers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("source", Text, nullable=False),  # of which file: its id, or its path where the command line asked
    Column("columns", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("state", Text, nullable=False),  # answered unknown refused
    Column("sentence", Text, nullable=False),
    Column("sql", Text, nullable=False),  # "" where there was no answer
    Column("sure", Float, nullable=False),
    Column("route", Text, nullable=False),  # confirmed reader model
    Column("time", Float, nullable=False),
    Column("user", Text, nullable=False),
)
Index("table_answers_by_source", table_answers.c.tenant, table_answers.c.source, table_answers.c.time)

# One row for what a question means, or does not; the same click again is the same row with a newer time.
table_questions = Table(
    "table_questions",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", Text, primary_key=True),  # hash of columns, question and SQL
    Column("columns", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("sql", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # right wrong
    Column("shape", JSON, nullable=False),
    Column("time", Float, nullable=False),
    Column("user", Text, nullable=False),
)
Index("table_questions_by_columns", table_questions.c.tenant, table_questions.c.columns, table_questions.c.time)
