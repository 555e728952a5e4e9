"""Let operators read what is on its way to the log: a reconciliation compares usage with the log and with that."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Grant the reading; the tables and their walls stay as they are."""
    op.execute("GRANT SELECT ON audit_outbox TO finpool_operator")
