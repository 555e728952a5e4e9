"""Row-level security believes a signed context only; a session that sets a tenant by itself sees nothing (ADR 0040).

Processes of the release before sign nothing and go on for an hour, until all of them are restarted.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

CONTEXT_KEY = """
CREATE TABLE context_key (
    role         text NOT NULL CHECK (role <> ''),
    key_id       text NOT NULL CHECK (key_id <> ''),
    inner_pad    bytea CHECK (length(inner_pad) = 64),
    outer_pad    bytea CHECK (length(outer_pad) = 64),
    valid_until  timestamptz,
    PRIMARY KEY (role, key_id),
    CHECK ((inner_pad IS NULL) = (outer_pad IS NULL)),
    CHECK (inner_pad IS NOT NULL OR valid_until IS NOT NULL)
)
"""

CONTEXT_IS_SIGNED = """
CREATE FUNCTION context_is_signed(context text) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given text := COALESCE(current_setting('finpool.signature', true), '');
    message bytea;
    known record;
BEGIN
    -- The owner reads the keys, and could switch row-level security off.
    IF session_user = current_user THEN
        RETURN true;
    END IF;
    message := convert_to(concat_ws('|', session_user, pg_backend_pid(),
        CAST(extract(epoch FROM transaction_timestamp()) * 1000000 AS bigint), context), 'UTF8');
    FOR known IN
        SELECT k.inner_pad, k.outer_pad FROM public.context_key k
        WHERE k.role = session_user AND (k.valid_until IS NULL OR k.valid_until > transaction_timestamp())
    LOOP
        IF known.inner_pad IS NULL THEN
            IF given = '' THEN
                RETURN true;
            END IF;
        ELSIF given ~ '^[0-9a-f]{64}$' THEN
            -- Both sides are hashed with the key, so the time of the comparison says nothing of the right signature.
            IF sha256(known.outer_pad || sha256(known.outer_pad || sha256(known.inner_pad || message)))
                    = sha256(known.outer_pad || decode(given, 'hex')) THEN
                RETURN true;
            END IF;
        END IF;
    END LOOP;
    RETURN false;
END $$
"""
"""HMAC-SHA256 from sha256, because pgcrypto is not on every server. A parallel worker has a process id of its own."""

CURRENT_TENANT = """
CREATE FUNCTION current_tenant() RETURNS text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    claimed text := NULLIF(current_setting('finpool.tenant_id', true), '');
BEGIN
    IF claimed IS NOT NULL AND public.context_is_signed('tenant:' || claimed) THEN
        RETURN claimed;
    END IF;
    RETURN NULL;
END $$
"""

IN_SECTOR = """
CREATE FUNCTION in_sector() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN COALESCE(current_setting('finpool.scope', true) = 'sector', false) AND public.context_is_signed('sector');
END $$
"""

OF_TENANTS = (
    *("tenant", "project", "api_key", "account", "lease", "usage_record", "audit_outbox", "audit_entry"),
    *("quota_limit", "budget", "rate_share", "transfer", "usage_adjustment", "contract", "invoice", "invoice_line"),
    *("payment", "dispute", "gateway_share", "idempotent_request", "audit_quarantine"),
)
"""Each has the policies `own_tenant` and `sector`."""

OWN = "tenant_id = (SELECT public.current_tenant())"
SECTOR = "(SELECT public.in_sector())"
"""A query without a reference to its rows is evaluated once for each statement, and its result can go into an index."""

OWN_SERVICE_BY_WINDOW = """
CREATE OR REPLACE FUNCTION own_service_by_window(
    models text[], first_number bigint, end_number bigint, window_seconds integer
) RETURNS TABLE (
    number bigint, requests bigint, service bigint, service_of_all bigint,
    service_weight integer, service_share_min_basis_points integer,
    service_weights_of_others integer[], service_shares_min_basis_points_of_others integer[],
    queue_ms_median bigint, queue_ms_p95 bigint, queue_ms_max bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller text := public.current_tenant();
    ended bigint;
BEGIN
    IF caller IS NULL THEN
        RAISE EXCEPTION 'no tenant is set whose service could be shown' USING ERRCODE = '42501';
    END IF;
    IF (window_seconds BETWEEN 900 AND 86400 AND window_seconds % 900 = 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'a tenant sees windows of whole quarters of an hour, at most a day' USING ERRCODE = '22023';
    END IF;
    ended := floor((extract(epoch FROM now()) - 60) / window_seconds);
    RETURN QUERY
        WITH served AS MATERIALIZED (
            SELECT w.* FROM public.service_by_window(
                models, to_timestamp(first_number * window_seconds),
                to_timestamp(LEAST(end_number, ended) * window_seconds), window_seconds
            ) AS w
        ), whole AS (
            SELECT s.number, CAST(sum(s.service) AS bigint) AS service,
                   array_agg(s.service_weight ORDER BY s.service_weight, s.service_share_min_basis_points)
                       FILTER (WHERE s.tenant_id <> caller) AS weights,
                   array_agg(s.service_share_min_basis_points
                       ORDER BY s.service_weight, s.service_share_min_basis_points)
                       FILTER (WHERE s.tenant_id <> caller) AS shares_min
            FROM served s GROUP BY s.number
        )
        SELECT own.number, own.requests, own.service, whole.service,
               own.service_weight, own.service_share_min_basis_points, whole.weights, whole.shares_min,
               own.queue_ms_median, own.queue_ms_p95, own.queue_ms_max
        FROM served own JOIN whole ON whole.number = own.number
        WHERE own.tenant_id = caller
        ORDER BY own.number;
END $$
"""
"""As in 0009, for the verified tenant. Its own role reads all tenants' rows: nobody logs in as that role."""

AS_READER = (
    "GRANT finpool_share_reader TO CURRENT_USER WITH INHERIT FALSE, SET TRUE",
    "GRANT CREATE ON SCHEMA public TO finpool_share_reader",
    "SET LOCAL ROLE finpool_share_reader",
    OWN_SERVICE_BY_WINDOW,
    "RESET ROLE",
    "REVOKE CREATE ON SCHEMA public FROM finpool_share_reader",
    "REVOKE finpool_share_reader FROM CURRENT_USER GRANTED BY CURRENT_USER",
)

UNSIGNED_FOR_AN_HOUR = """
INSERT INTO context_key (role, key_id, valid_until)
SELECT role, 'unsigned', now() + interval '1 hour'
FROM unnest(ARRAY['inference', 'tenant', 'operator', 'regulator', 'worker', 'pool']) AS name,
    concat('finpool_', name) AS role
WHERE EXISTS (SELECT FROM tenant)
"""


def upgrade() -> None:
    """Create keys and functions, and let every policy ask them."""
    for statement in (CONTEXT_KEY, CONTEXT_IS_SIGNED, CURRENT_TENANT, IN_SECTOR):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION context_is_signed FROM PUBLIC")
    for table in OF_TENANTS:
        op.execute(f"ALTER POLICY own_tenant ON {table} USING ({OWN}) WITH CHECK ({OWN})")
        op.execute(f"ALTER POLICY sector ON {table} USING ({SECTOR}) WITH CHECK ({SECTOR})")
    op.execute(f"ALTER POLICY supervision ON contract USING ({SECTOR})")
    for table in ("usage_record", "contract"):
        op.execute(f"ALTER POLICY shares ON {table} USING (true)")
    for statement in AS_READER:
        op.execute(statement)
    op.execute("ALTER TABLE tenant NO FORCE ROW LEVEL SECURITY")
    op.execute(UNSIGNED_FOR_AN_HOUR)
    op.execute("ALTER TABLE tenant FORCE ROW LEVEL SECURITY")
