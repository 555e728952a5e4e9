"""Usage counts in the period in which its request was admitted, as its budget does.

Records of before, without `counted_at`, go on counting when they were settled, so that every issued invoice stays true.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

COUNTED_AT = "ALTER TABLE usage_record ADD COLUMN counted_at timestamptz"
BY_TENANT = "CREATE INDEX usage_record_by_count ON usage_record (tenant_id, (COALESCE(counted_at, settled_at)))"
BY_TIME = "CREATE INDEX usage_record_by_count_time ON usage_record ((COALESCE(counted_at, settled_at)))"


def upgrade() -> None:
    """Add the moment that counts, and its indexes: invoices read one tenant's records by it, operators all of them."""
    for statement in (COUNTED_AT, BY_TENANT, BY_TIME):
        op.execute(statement)
