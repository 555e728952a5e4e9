"""A tenant's share of a busy engine: what its contract says of it, how long its requests waited, and who may look."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add both terms; contracts that are there already mean an equal share without a guarantee.

    Requests that were recorded before have no wait on record. Supervisors read the terms of service and no others.
    """
    op.execute("""
        ALTER TABLE contract
            ADD COLUMN service_weight integer NOT NULL DEFAULT 1 CHECK (service_weight BETWEEN 1 AND 1000),
            ADD COLUMN service_share_min_basis_points integer NOT NULL DEFAULT 0
                CHECK (service_share_min_basis_points BETWEEN 0 AND 10000)
    """)
    op.execute("ALTER TABLE usage_record ADD COLUMN queue_ms bigint CHECK (queue_ms >= 0)")
    op.execute(
        "CREATE POLICY supervision ON contract FOR SELECT TO finpool_regulator"
        " USING (current_setting('finpool.scope', true) = 'sector')"
    )
    op.execute("""
        GRANT SELECT (tenant_id, version, valid_from, service_weight, service_share_min_basis_points)
            ON contract TO finpool_regulator
    """)
