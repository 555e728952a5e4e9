"""Events that the log cannot take are refused when they are written; one that waits all the same is set aside.

One such event stopped the log of all banks: the sequencer takes events in order, and could neither chain nor skip it.
"""

from alembic import op

revision = "0017"
down_revision = "0016"

FAULT = r"""
CREATE FUNCTION public.audit_fault(tenant_id text, occurred_at timestamptz, kind text, body jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    written text := body;
BEGIN
    IF NOT (occurred_at >= to_timestamp(0) AND occurred_at < to_timestamp(253402300800)) THEN
        RETURN 'its moment is not in the years 1970 to 9999';
    ELSIF length(kind) > 100 OR kind !~ '^[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)+$' THEN
        RETURN 'its kind is no dotted name of at most 100 characters';
    ELSIF tenant_id !~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' THEN
        RETURN 'its tenant is no id of a tenant';
    ELSIF jsonb_typeof(body) <> 'object' THEN
        RETURN 'its body is no JSON object';
    ELSIF octet_length(written) > 131070 OR octet_length(written) > 65000 AND octet_length(jsonb_build_object(
            'seq', 9007199254740991, 'occurred_at', '2026-01-01T00:00:00.000000Z', 'kind', kind,
            'tenant_id', tenant_id, 'body', body
        )::text) - 9 - (
            SELECT sum(CASE jsonb_typeof(each)
                WHEN 'object' THEN greatest(2 * (SELECT count(*) FROM jsonb_object_keys(each)) - 1, 0)
                WHEN 'array' THEN greatest(jsonb_array_length(each) - 1, 0)
                ELSE 0 END)
            FROM jsonb_path_query(body, 'strict $.**') AS each
        ) > 65535 THEN
        RETURN 'its entry would take more than 65535 bytes';
    ELSIF jsonb_path_exists(body, 'strict $.**{17 to last}') THEN
        RETURN 'its body is nested more than 16 deep';
    ELSIF jsonb_path_exists(body, 'strict $.** ? (@.type() == "number"
            && (@ > 9007199254740991 || @ < -9007199254740991 || @.floor() != @))') THEN
        RETURN 'its body has a fraction, or an integer beyond 2^53 - 1';
    ELSIF body ? 'actor' AND (
            jsonb_typeof(body #> '{actor,audience}') IS DISTINCT FROM 'string'
            OR jsonb_typeof(body #> '{actor,role}') IS DISTINCT FROM 'string'
            OR jsonb_typeof(body #> '{actor,credential_id}') IS DISTINCT FROM 'string') THEN
        RETURN 'its actor has no audience, role and credential';
    ELSIF jsonb_typeof(body -> 'project_id') NOT IN ('string', 'null')
            OR jsonb_typeof(body -> 'scope_id') NOT IN ('string', 'null') THEN
        RETURN 'its project or scope is no text';
    ELSIF length(body #>> '{actor,credential_id}') > 255 OR length(body ->> 'project_id') > 255
            OR length(body ->> 'scope_id') > 255 THEN
        RETURN 'its actor, project or scope has more than 255 characters';
    ELSIF kind = 'usage.recorded' AND (
            jsonb_typeof(body -> 'request_id') = 'string' AND jsonb_typeof(body -> 'model_id') = 'string'
            AND jsonb_typeof(body -> 'outcome') = 'string' AND jsonb_typeof(body -> 'input_tokens') = 'number'
            AND jsonb_typeof(body -> 'cached_input_tokens') = 'number'
            AND jsonb_typeof(body -> 'output_tokens') = 'number' AND body ->> 'cost_picos' ~ '^[0-9]{1,38}$'
            AND body ->> 'settled_at' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}(Z|[+][0-9]{2}:[0-9]{2})$'
        ) IS NOT TRUE THEN
        RETURN 'it is no usage';
    END IF;
    RETURN NULL;
END $$
"""
"""The fault that keeps an event out of the log, or null.

It allows what canonical JSON can hold in one entry of 65,535 bytes: jsonb writes the same text, with a space behind
each colon and comma. It asks for texts in the columns that the database derives from an entry, short enough for their
indexes, and for usage that reconciliation can add up.
"""

REFUSAL = """
CREATE FUNCTION public.refuse_unfit_event() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fault text := public.audit_fault(NEW.tenant_id, NEW.occurred_at, NEW.kind, NEW.body);
BEGIN
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'the audit log cannot take this event: %', fault USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$
"""
"""A trigger and no constraint: events that wait already may not fit, and the sequencer sets those aside."""

QUARANTINE = """
CREATE TABLE audit_quarantine (
    outbox_id     bigint PRIMARY KEY,
    tenant_id     text CHECK (tenant_id <> ''),
    content       text NOT NULL,
    sha256        bytea NOT NULL CHECK (length(sha256) = 32),
    reason        text NOT NULL CHECK (length(reason) BETWEEN 1 AND 300),
    written_at    timestamptz NOT NULL,
    set_aside_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    reviewed_at   timestamptz,
    reviewed_by   text CHECK ((reviewed_by IS NULL) = (reviewed_at IS NULL))
);
CREATE INDEX audit_quarantine_open ON audit_quarantine (outbox_id) WHERE reviewed_at IS NULL;
ALTER TABLE audit_quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON audit_quarantine
    USING (tenant_id = NULLIF(current_setting('finpool.tenant_id', true), ''))
    WITH CHECK (tenant_id = NULLIF(current_setting('finpool.tenant_id', true), ''));
CREATE POLICY sector ON audit_quarantine TO finpool_operator, finpool_regulator, finpool_worker
    USING (current_setting('finpool.scope', true) = 'sector')
    WITH CHECK (current_setting('finpool.scope', true) = 'sector');
GRANT SELECT, INSERT ON audit_quarantine TO finpool_worker;
GRANT SELECT ON audit_quarantine TO finpool_operator, finpool_regulator;
GRANT SELECT (tenant_id, outbox_id, reason, set_aside_at, reviewed_at) ON audit_quarantine TO finpool_tenant;
GRANT UPDATE (reviewed_at, reviewed_by) ON audit_quarantine TO finpool_operator;
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_quarantine
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()
"""

OUTBOX = """
REVOKE ALL ON FUNCTION public.audit_fault FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.audit_fault
    TO finpool_operator, finpool_pool, finpool_regulator, finpool_tenant, finpool_worker;
CREATE TRIGGER fits_the_log BEFORE INSERT ON audit_outbox
    FOR EACH ROW EXECUTE FUNCTION public.refuse_unfit_event();
ALTER TABLE audit_outbox ADD COLUMN written_at timestamptz NOT NULL DEFAULT clock_timestamp();
CREATE INDEX audit_outbox_by_tenant ON audit_outbox (tenant_id, outbox_id);
REVOKE INSERT ON audit_outbox
    FROM finpool_operator, finpool_pool, finpool_regulator, finpool_tenant, finpool_worker;
GRANT INSERT (tenant_id, occurred_at, kind, body) ON audit_outbox
    TO finpool_operator, finpool_pool, finpool_regulator, finpool_tenant, finpool_worker;
GRANT SELECT (tenant_id, outbox_id, written_at) ON audit_outbox TO finpool_regulator, finpool_tenant;
CREATE POLICY kinds_of_the_worker ON audit_outbox AS RESTRICTIVE FOR INSERT
    WITH CHECK (kind NOT IN ('usage.recorded', 'audit.event_set_aside') OR current_user = 'finpool_worker')
"""
"""The database alone writes `written_at`, so nobody can make an event look younger."""


def run(script: str) -> None:
    """Execute one statement after the other: the driver prepares each, so it takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Check events when they are written, and create the table of those that are set aside."""
    op.execute(FAULT)
    op.execute(REFUSAL)
    run(QUARANTINE)
    run(OUTBOX)
