"""No login role may lock a table that it only updates, and a tenant's limits are what the gateways can read.

`LOCK TABLE` in any mode needs a right on the whole table. The tenants' role had one on the limits, which every gateway
reads: one lock, and after a minute no gateway trusts its limits any more. A right on each column does as well.
"""

from alembic import op
from sqlalchemy import text

revision = "0019"
down_revision = "0018"

GRANTED = r"""
SELECT quote_ident(c.relname) AS name, r.rolname AS role, (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
) AS columns
FROM pg_class c, aclexplode(c.relacl) g JOIN pg_roles r ON r.oid = g.grantee
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND g.privilege_type = 'UPDATE'
    AND r.rolname LIKE 'finpool\_%' AND g.grantee <> c.relowner
"""

MOMENTS = r"""
SELECT quote_ident(c.relname) AS name, quote_ident(a.attname) AS field, c.relname || '_' || a.attname AS subject
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    AND a.atttypid = 'timestamptz'::regtype
    AND c.relname NOT IN ('audit_outbox', 'audit_quarantine', 'context_key', 'usage_record', 'transfer')
"""
"""The moments that processes read into memory. The large tables among the others are written by trusted code alone."""


def upgrade() -> None:
    """Replace each right to update a table, and bound the values that no process could read."""
    connection = op.get_bind()
    for row in connection.execute(text(GRANTED)).all():
        op.execute(f"REVOKE UPDATE ON {row.name} FROM {row.role}")
        op.execute(f"GRANT UPDATE ({row.columns}) ON {row.name} TO {row.role}")
    for row in connection.execute(text(MOMENTS)).all():
        op.execute(
            f"ALTER TABLE {row.name} ADD CONSTRAINT {row.subject}_readable"
            f" CHECK ({row.field} >= to_timestamp(0) AND {row.field} < to_timestamp(253402300800))"
        )
    op.execute("""
        ALTER TABLE quota_limit ADD CONSTRAINT soft_thresholds_readable CHECK (
            soft_thresholds_percent = '{}' OR (
                array_ndims(soft_thresholds_percent) = 1 AND cardinality(soft_thresholds_percent) <= 100
                AND array_position(soft_thresholds_percent, NULL) IS NULL
                AND 1 <= ALL (soft_thresholds_percent) AND 100 >= ALL (soft_thresholds_percent)
            )
        )
    """)
