"""Prices with validity, tenants' contracts, and the pool's fixed cost by month."""

from alembic import op

revision = "0003"
down_revision = "0002"

PRICE_NAME = """
model_id || '@' || left(encode(sha256((
    '{"cached_input_micros_per_million_tokens":' || cached_input_picos
    || ',"currency":"' || currency || '"'
    || ',"input_micros_per_million_tokens":' || input_picos
    || ',"output_micros_per_million_tokens":' || output_picos || '}'
)::bytea), 'hex'), 12)
"""
"""The name that the catalogue derives from the amounts (RFC 8785, SHA-256): here one name cannot mean two prices."""

TABLES = f"""
CREATE TABLE price_version (
    price_version       text PRIMARY KEY,
    model_id            text NOT NULL CHECK (model_id <> '' AND strpos(model_id, '@') = 0),
    currency            text NOT NULL CHECK (currency ~ '^[A-Z]{{3}}$'),
    input_picos         bigint NOT NULL CHECK (input_picos BETWEEN 0 AND 9007199254740991),
    cached_input_picos  bigint NOT NULL CHECK (cached_input_picos BETWEEN 0 AND input_picos),
    output_picos        bigint NOT NULL CHECK (output_picos BETWEEN 0 AND 9007199254740991),
    created_at          timestamptz NOT NULL,
    CHECK (price_version = {PRICE_NAME})
);
CREATE TABLE price_schedule (
    schedule_id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id               text NOT NULL,
    tier                   text NOT NULL CHECK (tier IN ('standard', 'batch', 'off_peak')),
    price_version          text REFERENCES price_version CHECK (split_part(price_version, '@', 1) = model_id),
    off_peak_from_minute   smallint CHECK (off_peak_from_minute BETWEEN 0 AND 1439),
    off_peak_until_minute  smallint CHECK (off_peak_until_minute BETWEEN 0 AND 1439),
    valid_from             timestamptz NOT NULL,
    created_at             timestamptz NOT NULL,
    created_by             text NOT NULL CHECK (created_by <> ''),
    CHECK (price_version IS NOT NULL OR tier <> 'standard'),
    CHECK ((off_peak_from_minute IS NOT NULL) = (tier = 'off_peak' AND price_version IS NOT NULL)),
    CHECK ((off_peak_until_minute IS NULL) = (off_peak_from_minute IS NULL)),
    CHECK (off_peak_from_minute <> off_peak_until_minute),
    CHECK (valid_from >= created_at)
);
CREATE INDEX price_schedule_by_model ON price_schedule (model_id, tier, valid_from);
CREATE TABLE contract (
    tenant_id              text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    version                integer NOT NULL CHECK (version > 0),
    valid_from             timestamptz NOT NULL,
    payment                text CHECK (payment IN ('prepaid', 'postpaid')),
    discount_basis_points  integer NOT NULL CHECK (discount_basis_points BETWEEN 0 AND 10000),
    commitment_micros      bigint NOT NULL CHECK (commitment_micros >= 0),
    pool_weight            bigint NOT NULL CHECK (pool_weight >= 0),
    created_at             timestamptz NOT NULL,
    created_by             text NOT NULL CHECK (created_by <> ''),
    PRIMARY KEY (tenant_id, version),
    CHECK (payment IS NULL OR valid_from = created_at),
    CHECK (valid_from >= created_at)
);
CREATE TABLE pool_cost (
    month                     date NOT NULL CHECK (date_trunc('month', month::timestamp) = month),
    version                   integer NOT NULL CHECK (version > 0),
    currency                  text NOT NULL CHECK (currency ~ '^[A-Z]{{3}}$'),
    amount_micros             bigint NOT NULL CHECK (amount_micros >= 0),
    equal_share_basis_points  integer NOT NULL CHECK (equal_share_basis_points BETWEEN 0 AND 10000),
    created_at                timestamptz NOT NULL,
    created_by                text NOT NULL CHECK (created_by <> ''),
    PRIMARY KEY (month, version)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON price_version FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON price_schedule FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON contract FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON pool_cost FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""

NOTIFY_SECTOR_FUNCTION = """
CREATE FUNCTION notify_sector_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('finpool_changes', json_build_object('table', TG_TABLE_NAME, 'tenant_id', NULL)::text);
    RETURN NULL;
END $$
"""

NOTIFY_TRIGGERS = """
CREATE TRIGGER changed AFTER INSERT ON price_schedule FOR EACH STATEMENT EXECUTE FUNCTION notify_sector_change();
CREATE TRIGGER changed AFTER INSERT ON contract FOR EACH ROW EXECUTE FUNCTION notify_change();
"""

CONTRACT_WALLS = """
ALTER TABLE contract ENABLE ROW LEVEL SECURITY;
ALTER TABLE contract FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON contract
    USING (tenant_id = NULLIF(current_setting('finpool.tenant_id', true), ''))
    WITH CHECK (tenant_id = NULLIF(current_setting('finpool.tenant_id', true), ''));
CREATE POLICY sector ON contract TO finpool_inference, finpool_operator
    USING (current_setting('finpool.scope', true) = 'sector')
    WITH CHECK (current_setting('finpool.scope', true) = 'sector');
"""

GRANTS = """
GRANT SELECT ON price_version, price_schedule, contract TO finpool_inference;
GRANT SELECT ON price_version, price_schedule, contract TO finpool_tenant;
GRANT SELECT, INSERT ON price_version, price_schedule, contract, pool_cost TO finpool_operator;
GRANT SELECT, INSERT ON price_version TO finpool_worker;
"""


def run(script: str) -> None:
    """Execute one statement after the other: the driver prepares each, so it takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Create the tables, let their changes be heard, and wall contracts off."""
    run(TABLES)
    op.execute(NOTIFY_SECTOR_FUNCTION)
    run(NOTIFY_TRIGGERS)
    run(CONTRACT_WALLS)
    run(GRANTS)
