"""What a contract says about a tenant's share of a busy engine: its weight, and a share that is guaranteed."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add both terms; contracts that are there already mean an equal share without a guarantee."""
    op.execute("""
        ALTER TABLE contract
            ADD COLUMN service_weight integer NOT NULL DEFAULT 1 CHECK (service_weight BETWEEN 1 AND 1000),
            ADD COLUMN service_share_min_basis_points integer NOT NULL DEFAULT 0
                CHECK (service_share_min_basis_points BETWEEN 0 AND 10000)
    """)
