"""Requests with an `Idempotency-Key`: which run answers each, and for a day its sealed answer."""

from alembic import op

revision = "0013"
down_revision = "0012"

OWN = "tenant_id = NULLIF(current_setting('finpool.tenant_id', true), '')"
SECTOR = "current_setting('finpool.scope', true) = 'sector'"


def upgrade() -> None:
    """Create the table. Gateways write it, the worker deletes what has expired, and nobody else reads it.

    An answer is encrypted, so the database would compress it in vain. The worker may read no answer.
    """
    op.execute("""
        CREATE TABLE idempotent_request (
            tenant_id    text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
            key_digest   bytea NOT NULL CHECK (length(key_digest) = 32),
            fingerprint  bytea NOT NULL CHECK (length(fingerprint) = 32),
            request_id   text NOT NULL CHECK (request_id <> ''),
            replica_id   text NOT NULL CHECK (replica_id <> ''),
            run_id       text NOT NULL CHECK (run_id <> ''),
            claimed_at   timestamptz NOT NULL,
            held_until   timestamptz NOT NULL CHECK (held_until >= claimed_at),
            expires_at   timestamptz NOT NULL CHECK (expires_at > claimed_at),
            answer       bytea CHECK (length(answer) > 0),
            PRIMARY KEY (tenant_id, key_digest)
        )
    """)
    op.execute("ALTER TABLE idempotent_request ALTER COLUMN answer SET STORAGE EXTERNAL")
    op.execute("CREATE INDEX idempotent_request_running ON idempotent_request (replica_id) WHERE answer IS NULL")
    op.execute("CREATE INDEX idempotent_request_by_expiry ON idempotent_request (expires_at)")
    op.execute("ALTER TABLE idempotent_request ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE idempotent_request FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_tenant ON idempotent_request USING ({OWN}) WITH CHECK ({OWN})")
    op.execute(
        "CREATE POLICY sector ON idempotent_request TO finpool_inference, finpool_worker"
        f" USING ({SECTOR}) WITH CHECK ({SECTOR})"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON idempotent_request TO finpool_inference")
    op.execute("GRANT SELECT (tenant_id, key_digest, expires_at), DELETE ON idempotent_request TO finpool_worker")
