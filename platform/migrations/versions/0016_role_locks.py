"""Locks that only the named roles can take: any role could take an advisory lock by its number, and keep it."""

from alembic import op

revision = "0016"
down_revision = "0015"

LOCKS = """
    INSERT INTO role_lock (name, roles) VALUES
        ('audit_sequencer', '{finpool_worker}'),
        ('expired_requests', '{finpool_worker}'),
        ('gateway_shares', '{finpool_inference}'),
        ('service_guarantees', '{finpool_operator}'),
        ('model_versions', '{finpool_operator,finpool_pool}')
"""
"""The names are those of `finpool.kernel.database.locks`."""


def upgrade() -> None:
    """Create one row for each lock. Its roles lock the row, and row-level security hides it from all others.

    `SELECT ... FOR UPDATE` needs the right to update a column, and `LOCK TABLE` the right to update all. So the roles
    may update one column, which holds nothing.
    """
    op.execute("""
        CREATE TABLE role_lock (
            name   text PRIMARY KEY CHECK (name <> ''),
            roles  text[] NOT NULL,
            held   text CHECK (held IS NULL)
        )
    """)
    op.execute(LOCKS)
    op.execute("ALTER TABLE role_lock ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE role_lock FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY named_roles ON role_lock USING (CAST(current_user AS text) = ANY (roles))")
    roles = "finpool_inference, finpool_operator, finpool_pool, finpool_worker"
    op.execute(f"GRANT SELECT, UPDATE (held) ON role_lock TO {roles}")
