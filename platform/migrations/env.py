"""Alembic's environment: one schema, migrated by the role that owns it, under a lock."""

from alembic import context
from sqlalchemy import Connection, text

LOCK = "LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE"
"""Two migration jobs at once wait for each other. Only the owner can take this lock: login roles may read the table."""


def migrate(connection: Connection, lock_seconds_max: float) -> None:
    """Run the pending migrations in one transaction; give up at a lock that another session holds for too long."""
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text(f"SET LOCAL lock_timeout = '{lock_seconds_max * 1000:.0f}ms'"))
        connection.execute(text(LOCK))
        context.run_migrations()


migrate(context.config.attributes["connection"], context.config.attributes["lock_seconds_max"])
