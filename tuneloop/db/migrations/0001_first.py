"""The first schema: messages, datasets, versions, packs, calls, feedback, judgements."""

from alembic import op

from tuneloop.db.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
