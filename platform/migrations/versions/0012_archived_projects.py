"""A project says when it was archived. For projects that are archived already nobody knows; theirs stays null."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the moment. Operators write it with the status, by their grant on the whole table; banks may read it."""
    op.execute("ALTER TABLE project ADD COLUMN archived_at timestamptz")
