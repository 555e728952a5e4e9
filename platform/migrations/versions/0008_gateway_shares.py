"""Gateways that share an engine tell each other what each tenant got, who waits, and which slots are whose."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create both tables. What they hold is of the last seconds, so a crash of the database may empty them.

    Their rows are replaced in place once a second, so pages keep room for that. Nobody but the gateways reads them.
    """
    op.execute("""
        CREATE UNLOGGED TABLE gateway_slots (
            run_id      text NOT NULL CHECK (run_id <> ''),
            engine      text NOT NULL CHECK (engine <> ''),
            replica_id  text NOT NULL CHECK (replica_id <> ''),
            slots       integer NOT NULL CHECK (slots > 0),
            seen_at     timestamptz NOT NULL,
            PRIMARY KEY (run_id, engine)
        ) WITH (fillfactor = 50)
    """)
    op.execute("""
        CREATE UNLOGGED TABLE gateway_share (
            tenant_id      text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
            run_id         text NOT NULL CHECK (run_id <> ''),
            engine         text NOT NULL CHECK (engine <> ''),
            charged        bigint NOT NULL,
            waiting        integer NOT NULL CHECK (waiting >= 0),
            batch_waiting  integer NOT NULL CHECK (batch_waiting >= 0),
            in_flight      integer NOT NULL CHECK (in_flight >= 0),
            changed_at     timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, run_id, engine)
        ) WITH (fillfactor = 50)
    """)
    op.execute("ALTER TABLE gateway_share ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE gateway_share FORCE ROW LEVEL SECURITY")
    op.execute("""
        CREATE POLICY own_tenant ON gateway_share
            USING (tenant_id = NULLIF(current_setting('finpool.tenant_id', true), ''))
            WITH CHECK (tenant_id = NULLIF(current_setting('finpool.tenant_id', true), ''))
    """)
    op.execute("""
        CREATE POLICY sector ON gateway_share TO finpool_inference
            USING (current_setting('finpool.scope', true) = 'sector')
            WITH CHECK (current_setting('finpool.scope', true) = 'sector')
    """)
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_slots, gateway_share TO finpool_inference")
