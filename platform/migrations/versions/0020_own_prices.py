"""A bank sees general prices and those that it paid: discounts of other banks are price versions, too.

A price version names no tenant, because equal amounts are one version for all. So the versions of each tenant's usage
are kept beside it. The migration reads all usage once.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

TABLE = """
CREATE TABLE tenant_price (
    tenant_id      text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    price_version  text NOT NULL CHECK (price_version <> ''),
    PRIMARY KEY (tenant_id, price_version)
)
"""

KEEP = """
CREATE FUNCTION keep_tenant_prices() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.tenant_price (tenant_id, price_version)
        SELECT DISTINCT w.tenant_id, w.price_version FROM written w WHERE w.price_version <> '' ORDER BY 1, 2
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
"""
"""It runs with the rights of the role that records usage. Rows go in order, so that two recorders cannot deadlock."""

OWN = "tenant_id = (SELECT public.current_tenant())"
SECTOR = "(SELECT public.in_sector())"

AFTER = """
INSERT INTO tenant_price SELECT DISTINCT tenant_id, price_version FROM usage_record WHERE price_version <> '';
ALTER TABLE tenant_price ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_price FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON tenant_price TO finpool_worker;
GRANT SELECT ON tenant_price TO finpool_tenant;
CREATE TRIGGER tenant_prices AFTER INSERT ON usage_record REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION keep_tenant_prices();
ALTER TABLE price_version ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON price_version TO finpool_inference, finpool_operator, finpool_worker
    USING (true) WITH CHECK (true);
CREATE POLICY general ON price_version FOR SELECT TO finpool_tenant USING (EXISTS (
    SELECT FROM price_schedule s WHERE s.price_version = price_version.price_version));
CREATE POLICY paid ON price_version FOR SELECT TO finpool_tenant USING (EXISTS (
    SELECT FROM tenant_price p WHERE p.price_version = price_version.price_version));
"""


def upgrade() -> None:
    """Collect the versions of each tenant, and show a tenant no others but the scheduled ones."""
    op.execute(TABLE)
    op.execute(KEEP)
    op.execute("ALTER TABLE usage_record NO FORCE ROW LEVEL SECURITY")
    for statement in AFTER.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute("ALTER TABLE usage_record FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_tenant ON tenant_price USING ({OWN}) WITH CHECK ({OWN})")
    op.execute(f"CREATE POLICY sector ON tenant_price TO finpool_worker USING ({SECTOR}) WITH CHECK ({SECTOR})")
