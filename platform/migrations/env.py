"""Alembic's environment: one schema, migrated by the role that owns it, under a lock."""

from alembic import context
from sqlalchemy import Connection, text

MIGRATION_LOCK_ID = 4_607_182_418
"""Advisory lock: two migration jobs at once wait for each other instead of colliding."""


def migrate(connection: Connection) -> None:
    """Run the pending migrations in one transaction."""
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": MIGRATION_LOCK_ID})
        context.run_migrations()


migrate(context.config.attributes["connection"])
