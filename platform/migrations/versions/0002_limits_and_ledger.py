"""Limits on several scopes, budgets by period, rate shares of replicas, the ledger, and numbered usage."""

from alembic import op

revision = "0002"
down_revision = "0001"

SECTOR_ROLES = {
    "quota_limit": "finpool_inference, finpool_operator, finpool_regulator, finpool_worker",
    "budget": "finpool_inference, finpool_operator, finpool_regulator, finpool_worker",
    "rate_share": "finpool_inference, finpool_operator",
    "transfer": "finpool_inference, finpool_operator, finpool_regulator, finpool_worker",
    "usage_adjustment": "finpool_operator, finpool_regulator, finpool_worker",
}
"""Who may opt into reading each table across tenants; a tenant's own role never can."""

TABLES = """
CREATE TABLE quota_limit (
    tenant_id                text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    set_by                   text NOT NULL CHECK (set_by IN ('operator', 'tenant')),
    scope                    text NOT NULL CHECK (scope IN ('tenant', 'project', 'key', 'model')),
    scope_id                 text NOT NULL CHECK (scope_id <> '' AND (scope <> 'tenant' OR scope_id = tenant_id)),
    budget_day_micros        bigint CHECK (budget_day_micros >= 0),
    budget_month_micros      bigint CHECK (budget_month_micros >= 0),
    budget_total_micros      bigint CHECK (budget_total_micros >= 0),
    soft_thresholds_percent  smallint[] NOT NULL,
    requests_per_minute      bigint CHECK (requests_per_minute >= 0),
    tokens_per_minute        bigint CHECK (tokens_per_minute >= 0),
    concurrency              bigint CHECK (concurrency >= 0),
    updated_at               timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, set_by, scope, scope_id)
);
CREATE TABLE budget (
    tenant_id          text NOT NULL CHECK (tenant_id <> '') REFERENCES account,
    budget_id          text NOT NULL CHECK (budget_id <> ''),
    set_by             text NOT NULL,
    scope              text NOT NULL,
    scope_id           text NOT NULL,
    period             text NOT NULL CHECK (period IN ('day', 'month', 'total', 'prepaid')),
    period_start       timestamptz CHECK ((period_start IS NULL) = (period IN ('total', 'prepaid'))),
    posted_picos       numeric(38, 0) NOT NULL CHECK (posted_picos >= 0),
    pending_picos      numeric(38, 0) NOT NULL CHECK (pending_picos >= 0),
    threshold_percent  smallint NOT NULL CHECK (threshold_percent >= 0),
    PRIMARY KEY (tenant_id, budget_id)
);
CREATE TABLE rate_share (
    tenant_id   text NOT NULL CHECK (tenant_id <> '') REFERENCES account,
    limit_id    text NOT NULL CHECK (limit_id <> ''),
    rate        text NOT NULL CHECK (rate IN ('requests', 'tokens', 'concurrency')),
    run_id      text NOT NULL CHECK (run_id <> ''),
    replica_id  text NOT NULL CHECK (replica_id <> ''),
    amount      bigint NOT NULL CHECK (amount >= 0),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, limit_id, rate, run_id)
);
CREATE INDEX rate_share_by_replica ON rate_share (replica_id);
CREATE TABLE replica_run (
    run_id      text PRIMARY KEY,
    replica_id  text NOT NULL,
    spool_id    text NOT NULL,
    seen_at     timestamptz NOT NULL
);
CREATE TABLE transfer (
    tenant_id      text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    transfer_id    text NOT NULL CHECK (transfer_id <> ''),
    kind           text NOT NULL CHECK (kind <> ''),
    reference      text NOT NULL,
    accounts       text[] NOT NULL,
    amounts_picos  numeric[] NOT NULL,
    occurred_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, transfer_id),
    CHECK (cardinality(accounts) = cardinality(amounts_picos) AND cardinality(accounts) >= 2),
    CHECK (sums_to_zero(amounts_picos))
);
CREATE INDEX transfer_by_time ON transfer (tenant_id, occurred_at);
CREATE TABLE usage_adjustment (
    tenant_id            text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    adjustment_id        text NOT NULL CHECK (adjustment_id <> ''),
    kind                 text NOT NULL CHECK (kind IN ('correction', 'lease_charge', 'dispute')),
    request_id           text,
    project_id           text,
    model_id             text,
    price_version        text,
    currency             text NOT NULL,
    input_tokens         bigint NOT NULL,
    cached_input_tokens  bigint NOT NULL,
    output_tokens        bigint NOT NULL,
    cost_picos           numeric(38, 0) NOT NULL,
    reason               text NOT NULL CHECK (reason <> ''),
    made_by              text NOT NULL,
    usage_seq            bigint NOT NULL,
    recorded_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, adjustment_id)
);
CREATE INDEX usage_adjustment_by_seq ON usage_adjustment (tenant_id, usage_seq);
ALTER TABLE account ADD COLUMN payment text NOT NULL DEFAULT 'postpaid' CHECK (payment IN ('prepaid', 'postpaid'));
ALTER TABLE account ADD COLUMN funded_picos numeric(38, 0) NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN usage_seq bigint NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN budget_id text;
ALTER TABLE lease ADD COLUMN outcome text CHECK (outcome IN ('returned', 'charged', 'released'));
ALTER TABLE usage_record DROP CONSTRAINT usage_record_tenant_id_lease_id_fkey;
ALTER TABLE usage_record ADD COLUMN lease_ids text[];
ALTER TABLE usage_record ADD COLUMN tier text NOT NULL DEFAULT 'standard';
ALTER TABLE usage_record ADD COLUMN usage_seq bigint;
ALTER TABLE usage_record ADD COLUMN recorded_at timestamptz;
"""

SUMS_TO_ZERO = """
CREATE FUNCTION sums_to_zero(amounts numeric[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS
$$ SELECT COALESCE(sum(amount) = 0 AND count(amount) = count(*), false) FROM unnest(amounts) AS amount $$
"""

IMMUTABLE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is immutable: what is wrong is corrected by a new row', TG_TABLE_NAME;
END $$
"""

MOVE = """
ALTER TABLE account NO FORCE ROW LEVEL SECURITY;
ALTER TABLE lease NO FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_record NO FORCE ROW LEVEL SECURITY;
INSERT INTO quota_limit
    SELECT tenant_id, 'operator', 'tenant', tenant_id, NULL, NULL, budget_micros, '{}', requests_per_minute,
           tokens_per_minute, concurrency, updated_at
    FROM account;
INSERT INTO budget
    SELECT tenant_id, 'operator/tenant/' || tenant_id || '/total', 'operator', 'tenant', tenant_id, 'total', NULL,
           posted_picos, pending_picos, 0
    FROM account;
UPDATE lease SET budget_id = 'operator/tenant/' || tenant_id || '/total';
UPDATE lease SET outcome = 'returned' WHERE closed_at IS NOT NULL;
UPDATE usage_record u SET lease_ids = ARRAY[u.lease_id], recorded_at = u.settled_at, usage_seq = numbered.number
    FROM (
        SELECT tenant_id, request_id,
               row_number() OVER (PARTITION BY tenant_id ORDER BY settled_at, request_id) AS number
        FROM usage_record
    ) numbered
    WHERE numbered.tenant_id = u.tenant_id AND numbered.request_id = u.request_id;
UPDATE account a SET usage_seq = (SELECT count(*) FROM usage_record u WHERE u.tenant_id = a.tenant_id);
INSERT INTO transfer
    SELECT tenant_id, 'opening/' || tenant_id, 'opening', 'balances before the ledger was kept',
           ARRAY['unbilled', 'revenue', 'available:' || budget_id, 'spent:' || budget_id],
           ARRAY[posted_picos, -posted_picos, -posted_picos, posted_picos], now()
    FROM budget WHERE posted_picos > 0;
INSERT INTO transfer
    SELECT tenant_id, 'opening/' || lease_id, 'opening', lease_id,
           ARRAY['available:' || budget_id, 'lease:' || lease_id],
           ARRAY[spent_picos - granted_picos, granted_picos - spent_picos], now()
    FROM lease WHERE closed_at IS NULL AND granted_picos > spent_picos;
ALTER TABLE account FORCE ROW LEVEL SECURITY;
ALTER TABLE lease FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_record FORCE ROW LEVEL SECURITY;
"""

AFTER_MOVE = """
DROP TRIGGER changed ON account;
ALTER TABLE account DROP COLUMN budget_micros;
ALTER TABLE account DROP COLUMN requests_per_minute;
ALTER TABLE account DROP COLUMN tokens_per_minute;
ALTER TABLE account DROP COLUMN concurrency;
ALTER TABLE account DROP COLUMN pending_picos;
ALTER TABLE lease ALTER COLUMN budget_id SET NOT NULL;
ALTER TABLE lease ADD FOREIGN KEY (tenant_id, budget_id) REFERENCES budget;
ALTER TABLE lease ADD CHECK ((outcome IS NULL) = (closed_at IS NULL));
ALTER TABLE usage_record DROP COLUMN lease_id;
ALTER TABLE usage_record ALTER COLUMN lease_ids SET NOT NULL;
ALTER TABLE usage_record ALTER COLUMN usage_seq SET NOT NULL;
ALTER TABLE usage_record ALTER COLUMN recorded_at SET NOT NULL;
CREATE UNIQUE INDEX usage_record_by_seq ON usage_record (tenant_id, usage_seq);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON transfer FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON usage_adjustment FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER changed AFTER INSERT OR UPDATE ON quota_limit FOR EACH ROW EXECUTE FUNCTION notify_change();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OF payment, funded_picos
    ON account FOR EACH ROW EXECUTE FUNCTION notify_change();
CREATE VIEW posting WITH (security_invoker = true) AS
    SELECT tenant_id, transfer_id, kind, reference, occurred_at, posted.account, posted.amount_picos
    FROM transfer, unnest(accounts, amounts_picos) AS posted (account, amount_picos);
"""

GRANTS = """
GRANT SELECT ON quota_limit TO finpool_inference;
GRANT SELECT, INSERT, UPDATE (pending_picos) ON budget TO finpool_inference;
GRANT SELECT, INSERT, UPDATE, DELETE ON rate_share, replica_run TO finpool_inference;
GRANT UPDATE (updated_at) ON account TO finpool_inference;
GRANT INSERT ON transfer TO finpool_inference;

GRANT SELECT ON quota_limit, budget, transfer, posting, usage_adjustment TO finpool_tenant;
GRANT INSERT, UPDATE ON quota_limit TO finpool_tenant;
GRANT SELECT (tenant_id, key_id) ON api_key TO finpool_tenant;
GRANT INSERT ON audit_outbox TO finpool_tenant;

GRANT SELECT, INSERT, UPDATE ON quota_limit, budget TO finpool_operator;
GRANT SELECT ON rate_share, replica_run, posting TO finpool_operator;
GRANT SELECT, INSERT ON transfer, usage_adjustment TO finpool_operator;
GRANT UPDATE (payment, funded_picos, posted_picos, usage_seq, updated_at) ON account TO finpool_operator;
GRANT UPDATE (spent_picos, closed_at, outcome) ON lease TO finpool_operator;

GRANT SELECT ON quota_limit, budget, transfer, posting, usage_adjustment TO finpool_regulator;

GRANT SELECT ON quota_limit TO finpool_worker;
GRANT SELECT, UPDATE (posted_picos, pending_picos, threshold_percent) ON budget TO finpool_worker;
GRANT UPDATE (usage_seq) ON account TO finpool_worker;
GRANT UPDATE (outcome) ON lease TO finpool_worker;
GRANT SELECT, INSERT ON transfer TO finpool_worker;
GRANT SELECT ON posting, usage_adjustment TO finpool_worker;
"""

TENANT_SETS_OWN_LIMITS = """
CREATE POLICY tenant_sets_own ON quota_limit AS RESTRICTIVE FOR INSERT TO finpool_tenant WITH CHECK (set_by = 'tenant');
CREATE POLICY tenant_changes_own ON quota_limit AS RESTRICTIVE FOR UPDATE TO finpool_tenant
    USING (set_by = 'tenant') WITH CHECK (set_by = 'tenant');
"""


def run(script: str) -> None:
    """Execute one statement after the other: the driver prepares each, so it takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Create the tables, move what accounts held into limits, budgets and opening transfers, then wall them off."""
    op.execute(SUMS_TO_ZERO)
    op.execute(IMMUTABLE)
    run(TABLES)
    run(MOVE)
    run(AFTER_MOVE)
    for table, roles in SECTOR_ROLES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        own = "tenant_id = NULLIF(current_setting('finpool.tenant_id', true), '')"
        op.execute(f"CREATE POLICY own_tenant ON {table} USING ({own}) WITH CHECK ({own})")
        sector = "current_setting('finpool.scope', true) = 'sector'"
        op.execute(f"CREATE POLICY sector ON {table} TO {roles} USING ({sector}) WITH CHECK ({sector})")
    run(TENANT_SETS_OWN_LIMITS)
    run(GRANTS)
