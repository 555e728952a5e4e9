"""What a model's engine gave to whom, once for every door; and a bank's own part of it, without the other banks."""

from alembic import op

revision = "0009"
down_revision = "0008"

READER = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'finpool_share_reader') THEN
        CREATE ROLE finpool_share_reader NOLOGIN;
    END IF;
END $$
"""
"""Roles are the server's, and another database on it may have made this one."""

SERVICE_BY_WINDOW = """
CREATE FUNCTION service_by_window(models text[], begins timestamptz, ends timestamptz, window_seconds integer)
RETURNS TABLE (
    number bigint, tenant_id text, requests bigint, service bigint,
    service_weight integer, service_share_min_basis_points integer,
    queue_ms_median bigint, queue_ms_p95 bigint, queue_ms_max bigint
) LANGUAGE sql STABLE SET enable_nestloop = off AS $$
    WITH served AS (
        SELECT CAST(floor(extract(epoch FROM r.settled_at) / window_seconds) AS bigint) AS number, r.tenant_id,
               count(*) AS requests, CAST(sum(r.input_tokens + 2 * r.output_tokens) AS bigint) AS service,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY r.queue_ms) AS queue_ms_median,
               percentile_disc(0.95) WITHIN GROUP (ORDER BY r.queue_ms) AS queue_ms_p95,
               max(r.queue_ms) AS queue_ms_max
        FROM public.usage_record r
        WHERE r.model_id = ANY(models) AND r.settled_at >= begins AND r.settled_at < ends
        GROUP BY 1, 2
    ), terms AS (
        SELECT c.tenant_id, c.valid_from, c.service_weight, c.service_share_min_basis_points,
               lead(c.valid_from) OVER (PARTITION BY c.tenant_id ORDER BY c.valid_from, c.version) AS valid_until
        FROM public.contract c
    )
    SELECT served.number, served.tenant_id, served.requests, served.service,
           terms.service_weight, terms.service_share_min_basis_points,
           served.queue_ms_median, served.queue_ms_p95, served.queue_ms_max
    FROM served LEFT JOIN terms
        ON terms.tenant_id = served.tenant_id
        AND terms.valid_from <= to_timestamp(served.number * window_seconds)
        AND COALESCE(terms.valid_until > to_timestamp(served.number * window_seconds), true)
    ORDER BY served.number, served.tenant_id
$$
"""
"""Windows begin at whole multiples of their length since 1970; a contract counts as it was when the window began.

It runs with the rights of whoever calls it. An output token weighs two of the input, as it does in the gateway's queue.
The planner expects that row-level security lets one contract through, and would compare each with each.
"""

OWN_SERVICE_BY_WINDOW = """
CREATE FUNCTION own_service_by_window(
    models text[], first_number bigint, end_number bigint, window_seconds integer
) RETURNS TABLE (
    number bigint, requests bigint, service bigint, service_of_all bigint,
    service_weight integer, service_share_min_basis_points integer,
    service_weights_of_others integer[], service_shares_min_basis_points_of_others integer[],
    queue_ms_median bigint, queue_ms_p95 bigint, queue_ms_max bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller text := NULLIF(current_setting('finpool.tenant_id', true), '');
    scope_before text := COALESCE(current_setting('finpool.scope', true), '');
    ended bigint;
BEGIN
    IF caller IS NULL THEN
        RAISE EXCEPTION 'no tenant is set whose service could be shown' USING ERRCODE = '42501';
    END IF;
    IF (window_seconds BETWEEN 900 AND 86400 AND window_seconds % 900 = 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'a tenant sees windows of whole quarters of an hour, at most a day' USING ERRCODE = '22023';
    END IF;
    ended := floor((extract(epoch FROM now()) - 60) / window_seconds);
    PERFORM set_config('finpool.scope', 'sector', true);
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
    PERFORM set_config('finpool.scope', scope_before, true);
END $$
"""
"""Whole windows that have ended and in which the caller was served: its own figures, and the service of all together.

Of the others there are the claims of their contracts, sorted, without names: guarantees are worked out in one place,
`billing/entitlement_schemas.py`.

The shortest window is a quarter of an hour, and longer ones are made of those: so the difference of two answers is
never about a shorter time either. A window is shown a minute after its end, when what was settled in it is on record;
whoever asked meanwhile, again and again, would see other banks' last requests come in one by one.
"""

RIGHTS = """
GRANT USAGE ON SCHEMA public TO finpool_share_reader;
GRANT SELECT (tenant_id, model_id, input_tokens, output_tokens, queue_ms, settled_at)
    ON usage_record TO finpool_share_reader;
GRANT SELECT (tenant_id, version, valid_from, service_weight, service_share_min_basis_points)
    ON contract TO finpool_share_reader;
CREATE POLICY shares ON usage_record FOR SELECT TO finpool_share_reader
    USING (current_setting('finpool.scope', true) = 'sector');
CREATE POLICY shares ON contract FOR SELECT TO finpool_share_reader
    USING (current_setting('finpool.scope', true) = 'sector');
REVOKE ALL ON FUNCTION service_by_window FROM PUBLIC;
GRANT EXECUTE ON FUNCTION service_by_window TO finpool_operator, finpool_regulator, finpool_share_reader;
REVOKE ALL ON FUNCTION own_service_by_window FROM PUBLIC;
GRANT EXECUTE ON FUNCTION own_service_by_window TO finpool_tenant;
"""

HAND_OVER = """
GRANT finpool_share_reader TO CURRENT_USER WITH INHERIT FALSE, SET TRUE;
GRANT CREATE ON SCHEMA public TO finpool_share_reader;
ALTER FUNCTION own_service_by_window OWNER TO finpool_share_reader;
REVOKE CREATE ON SCHEMA public FROM finpool_share_reader;
REVOKE finpool_share_reader FROM CURRENT_USER GRANTED BY CURRENT_USER;
"""
"""A role takes over only what it could make itself, from somebody who could act as it; afterwards neither is so."""


def run(script: str) -> None:
    """Execute one statement after the other: the driver prepares each, so it takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Create both functions. The tenants' role gets no right on another's rows: all it may do is call the second."""
    for statement in (READER, SERVICE_BY_WINDOW, OWN_SERVICE_BY_WINDOW):
        op.execute(statement)
    run(RIGHTS)
    run(HAND_OVER)
