"""The first schema: tenants, keys, accounts and leases, usage, audit; row-level security on every tenant table."""

from alembic import op

revision = "0001"
down_revision = None

SECTOR_ROLES = {
    "tenant": "finpool_inference, finpool_operator, finpool_regulator, finpool_worker",
    "project": "finpool_inference, finpool_operator, finpool_regulator",
    "api_key": "finpool_inference, finpool_operator",
    "account": "finpool_inference, finpool_operator, finpool_regulator, finpool_worker",
    "lease": "finpool_inference, finpool_operator, finpool_worker",
    "usage_record": "finpool_operator, finpool_regulator, finpool_worker",
    "audit_outbox": "finpool_operator, finpool_regulator, finpool_worker",
    "audit_entry": "finpool_operator, finpool_regulator, finpool_worker",
}
"""Who may opt into reading each table across tenants; a tenant's own role never can."""

TABLES = """
CREATE TABLE tenant (
    tenant_id   text PRIMARY KEY CHECK (tenant_id <> ''),
    name        text NOT NULL CHECK (name <> ''),
    status      text NOT NULL CHECK (status IN ('active', 'suspended')),
    models      text[] NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    created_at  timestamptz NOT NULL
);
CREATE TABLE project (
    tenant_id   text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    project_id  text NOT NULL CHECK (project_id <> ''),
    name        text NOT NULL CHECK (name <> ''),
    status      text NOT NULL CHECK (status IN ('active', 'archived')),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, project_id)
);
CREATE TABLE api_key (
    tenant_id   text NOT NULL CHECK (tenant_id <> ''),
    key_id      text NOT NULL,
    project_id  text NOT NULL,
    name        text NOT NULL,
    role        text NOT NULL CHECK (role LIKE 'tenant.%'),
    digest      bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    hint        text NOT NULL,
    status      text NOT NULL CHECK (status IN ('active', 'revoked')),
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz CHECK ((revoked_at IS NULL) = (status = 'active')),
    PRIMARY KEY (tenant_id, key_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES project
);
CREATE TABLE platform_token (
    token_id    text PRIMARY KEY,
    name        text NOT NULL,
    role        text NOT NULL CHECK (role LIKE 'operator.%' OR role LIKE 'regulator.%'),
    digest      bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    status      text NOT NULL CHECK (status IN ('active', 'revoked')),
    created_at  timestamptz NOT NULL
);
CREATE TABLE account (
    tenant_id            text PRIMARY KEY CHECK (tenant_id <> '') REFERENCES tenant,
    budget_micros        bigint NOT NULL CHECK (budget_micros >= 0),
    requests_per_minute  bigint CHECK (requests_per_minute >= 0),
    tokens_per_minute    bigint CHECK (tokens_per_minute >= 0),
    concurrency          bigint CHECK (concurrency >= 0),
    posted_picos         numeric(38, 0) NOT NULL DEFAULT 0 CHECK (posted_picos >= 0),
    pending_picos        numeric(38, 0) NOT NULL DEFAULT 0 CHECK (pending_picos >= 0),
    updated_at           timestamptz NOT NULL
);
CREATE TABLE lease (
    tenant_id      text NOT NULL CHECK (tenant_id <> '') REFERENCES account,
    lease_id       text NOT NULL,
    replica_id     text NOT NULL,
    spool_id       text NOT NULL,
    granted_picos  numeric(38, 0) NOT NULL CHECK (granted_picos > 0),
    spent_picos    numeric(38, 0) NOT NULL DEFAULT 0 CHECK (spent_picos >= 0),
    opened_at      timestamptz NOT NULL,
    closed_at      timestamptz,
    PRIMARY KEY (tenant_id, lease_id)
);
CREATE INDEX lease_open ON lease (replica_id) WHERE closed_at IS NULL;
CREATE TABLE usage_record (
    tenant_id            text NOT NULL CHECK (tenant_id <> '') REFERENCES tenant,
    request_id           text NOT NULL,
    project_id           text NOT NULL,
    key_id               text NOT NULL,
    model_id             text NOT NULL,
    weights_sha256       text NOT NULL,
    price_version        text NOT NULL,
    currency             text NOT NULL,
    input_tokens         bigint NOT NULL CHECK (input_tokens >= 0),
    cached_input_tokens  bigint NOT NULL CHECK (cached_input_tokens BETWEEN 0 AND input_tokens),
    output_tokens        bigint NOT NULL CHECK (output_tokens >= 0),
    cost_picos           numeric(38, 0) NOT NULL CHECK (cost_picos >= 0),
    outcome              text NOT NULL CHECK (outcome IN ('completed', 'aborted', 'failed', 'crashed')),
    estimated            boolean NOT NULL,
    streamed             boolean NOT NULL,
    policy_version       integer NOT NULL,
    lease_id             text NOT NULL,
    replica_id           text NOT NULL,
    spool_seq            bigint NOT NULL,
    started_at           timestamptz NOT NULL,
    settled_at           timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, request_id),
    FOREIGN KEY (tenant_id, lease_id) REFERENCES lease
);
CREATE INDEX usage_record_by_tenant ON usage_record (tenant_id, settled_at);
CREATE INDEX usage_record_by_time ON usage_record (settled_at);
CREATE TABLE spool_position (
    replica_id  text NOT NULL,
    spool_id    text NOT NULL,
    seq         bigint NOT NULL CHECK (seq >= 0),
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (replica_id, spool_id)
);
CREATE TABLE audit_outbox (
    outbox_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    text CHECK (tenant_id <> ''),
    occurred_at  timestamptz NOT NULL,
    kind         text NOT NULL,
    body         jsonb NOT NULL
);
CREATE TABLE audit_entry (
    seq          bigint PRIMARY KEY CHECK (seq >= 0),
    tenant_id    text CHECK (tenant_id <> ''),
    entry        text NOT NULL CHECK (octet_length(entry) <= 65535),
    previous     bytea NOT NULL CHECK (length(previous) = 32),
    hash         bytea NOT NULL UNIQUE CHECK (length(hash) = 32)
);
CREATE INDEX audit_entry_by_tenant ON audit_entry (tenant_id, seq);
"""

NOTIFY_FUNCTION = """
CREATE FUNCTION notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('finpool_changes', json_build_object('table', TG_TABLE_NAME, 'tenant_id', NEW.tenant_id)::text);
    RETURN NULL;
END $$
"""

NOTIFY_TRIGGERS = """
CREATE TRIGGER changed AFTER INSERT OR UPDATE ON tenant FOR EACH ROW EXECUTE FUNCTION notify_change();
CREATE TRIGGER changed AFTER INSERT OR UPDATE ON project FOR EACH ROW EXECUTE FUNCTION notify_change();
CREATE TRIGGER changed AFTER INSERT OR UPDATE ON api_key FOR EACH ROW EXECUTE FUNCTION notify_change();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OF budget_micros, requests_per_minute, tokens_per_minute, concurrency
    ON account FOR EACH ROW EXECUTE FUNCTION notify_change();
"""

GRANTS = """
GRANT USAGE ON SCHEMA public
    TO finpool_inference, finpool_tenant, finpool_operator, finpool_regulator, finpool_worker;
GRANT SELECT ON alembic_version
    TO finpool_inference, finpool_tenant, finpool_operator, finpool_regulator, finpool_worker;

GRANT SELECT ON tenant, project, api_key, account TO finpool_inference;
GRANT SELECT, INSERT, UPDATE (granted_picos) ON lease TO finpool_inference;
GRANT UPDATE (pending_picos) ON account TO finpool_inference;
GRANT SELECT ON spool_position TO finpool_inference;

GRANT SELECT ON tenant, project, account, usage_record, audit_entry TO finpool_tenant;

GRANT SELECT, INSERT, UPDATE ON tenant, project, api_key TO finpool_operator;
GRANT SELECT, INSERT ON account TO finpool_operator;
GRANT UPDATE (budget_micros, requests_per_minute, tokens_per_minute, concurrency, updated_at)
    ON account TO finpool_operator;
GRANT SELECT ON lease, usage_record, platform_token, audit_entry TO finpool_operator;
GRANT INSERT ON audit_outbox TO finpool_operator;

GRANT SELECT ON tenant, project, account, usage_record, audit_entry, platform_token TO finpool_regulator;
GRANT INSERT ON audit_outbox TO finpool_regulator;

GRANT SELECT ON tenant TO finpool_worker;
GRANT SELECT, UPDATE (posted_picos, pending_picos) ON account TO finpool_worker;
GRANT SELECT, UPDATE (spent_picos, closed_at) ON lease TO finpool_worker;
GRANT SELECT, INSERT ON usage_record TO finpool_worker;
GRANT SELECT, INSERT, UPDATE ON spool_position TO finpool_worker;
GRANT SELECT, INSERT, DELETE ON audit_outbox TO finpool_worker;
GRANT SELECT, INSERT ON audit_entry TO finpool_worker;
"""


def run(script: str) -> None:
    """Execute one statement after the other: the driver prepares each, so it takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Create everything."""
    run(TABLES)
    op.execute(NOTIFY_FUNCTION)
    run(NOTIFY_TRIGGERS)
    for table, roles in SECTOR_ROLES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        own = "tenant_id = NULLIF(current_setting('finpool.tenant_id', true), '')"
        op.execute(f"CREATE POLICY own_tenant ON {table} USING ({own}) WITH CHECK ({own})")
        sector = "current_setting('finpool.scope', true) = 'sector'"
        op.execute(f"CREATE POLICY sector ON {table} TO {roles} USING ({sector}) WITH CHECK ({sector})")
    # The owner issues tokens and puts that on record; about a tenant it can write nothing.
    op.execute("CREATE POLICY owner ON audit_outbox FOR INSERT TO CURRENT_USER WITH CHECK (tenant_id IS NULL)")
    run(GRANTS)
