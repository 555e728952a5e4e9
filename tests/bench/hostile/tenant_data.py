"""Two banks in a database of their own: a quiet one, and a large one whose routes are expensive."""

import asyncpg
from sqlalchemy import text

from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.service import draft_invoice, issue_invoice
from finpool.identity.platform_tokens import issue_platform_token
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

QUIET, BUSY = TenantId("bank-b"), TenantId("bank-c")
PROJECTS, MODELS, KEYS = 20, 10, 8
OPERATOR = Actor(Audience.OPERATOR, "token_bench", Role.OPERATOR_BILLING)
TERMS = BillingTerms(currency="CNY", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=600)
MONTH = "2025-01"
BEGINS, ENDS = 1_735_689_600, 1_738_368_000
RARE_KEY = "key_rare"
"""A resource that one entry names, the oldest of the bank."""

BANK = """
INSERT INTO tenant VALUES ('$bank', '$bank', 'active', '{*}', 1, '2025-01-01Z');
INSERT INTO account (tenant_id, usage_seq, updated_at) VALUES ('$bank', $rows, now());
"""

SETUP = f"""
INSERT INTO project (tenant_id, project_id, name, status, created_at)
    SELECT '{BUSY}', 'project-' || n, 'Project ' || n, 'active', now() FROM generate_series(0, {PROJECTS - 1}) n;
CREATE TEMPORARY TABLE price AS
    SELECT 'model-' || m AS model_id, m, 1000 * m AS input, 200 * m AS cached, 4000 * m AS output
    FROM generate_series(1, {MODELS}) m;
ALTER TABLE price ADD COLUMN version text;
UPDATE price SET version = model_id || '@' || left(encode(sha256((
    '{{"cached_input_micros_per_million_tokens":' || cached || ',"currency":"CNY","input_micros_per_million_tokens":'
    || input || ',"output_micros_per_million_tokens":' || output || '}}')::bytea), 'hex'), 12);
INSERT INTO price_version SELECT version, model_id, 'CNY', input, cached, output, now() FROM price;
INSERT INTO usage_record
    SELECT '{BUSY}', 'req_' || n, 'project-' || n % {PROJECTS}, 'key_' || n % {KEYS}, model_id, 'w', version, 'CNY',
        1000 + n % 7919, n % 997, n % 1009,
        (1000 + n % 7919 - n % 997) * input::numeric + n % 997 * cached + n % 1009 * output,
        'completed', false, true, 1, 'local', n, moment, moment, '{{}}', 'standard', n, moment
    FROM generate_series(1, $rows) n
    CROSS JOIN LATERAL (SELECT timestamptz '2025-01-01Z' + n * interval '31 days' / ($rows + 1) AS moment) at
    JOIN price ON price.m = 1 + n / {PROJECTS} % {MODELS};
ANALYZE usage_record;
"""

LOG = f"""
INSERT INTO audit_entry (seq, tenant_id, entry, previous, hash)
    SELECT n, '{BUSY}', json_build_object('body', json_build_object(
            'cost_picos', '123456789', 'input_tokens', 1000, 'key_id', 'key_' || CASE n WHEN 1 THEN 'rare' ELSE 'x' END,
            'model_id', 'model-1', 'output_tokens', 17, 'price_version', 'model-1@0123456789ab',
            'project_id', 'project-' || n % {PROJECTS}, 'replica_id', 'local', 'request_id', 'req_' || n),
        'kind', 'usage.recorded',
        'occurred_at', to_char(timestamptz '2025-01-01Z' + n * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'seq', n, 'tenant_id', '{BUSY}')::text,
        sha256((n - 1)::text::bytea), sha256(n::text::bytea)
    FROM generate_series(1, $entries) n;
ANALYZE audit_entry;
"""


async def fill(owner_url: str, operator_url: str, rows: int, entries: int) -> str:
    """Write `rows` usage records and `entries` of the log; return the id of the invoice over the records."""
    connection = await asyncpg.connect(owner_url)
    try:
        for bank, used in ((QUIET, 0), (BUSY, rows)):
            await connection.execute("SELECT set_config('finpool.tenant_id', $1, false)", bank)
            await connection.execute(BANK.replace("$bank", bank).replace("$rows", str(used)))
        await connection.execute(SETUP.replace("$rows", str(rows)))
        await connection.execute(LOG.replace("$entries", str(entries)))
    finally:
        await connection.close()
    database = Database(operator_url, connections_max=1)
    try:
        async with database.across_tenants() as session:
            await session.execute(text("SET LOCAL statement_timeout = 0"))
            draft = await draft_invoice(session, OPERATOR, BUSY, MONTH, TERMS)
        async with database.across_tenants() as session:
            await issue_invoice(session, OPERATOR, BUSY, draft.id)
    finally:
        await database.close()
    return draft.id


async def tokens(owner_url: str, pepper: bytes) -> tuple[str, str]:
    """Return the tokens of two examiners."""
    database = Database(owner_url, connections_max=1)
    try:
        async with database.across_tenants() as session:
            made = [
                (await issue_platform_token(session, Role.REGULATOR_EXAMINER, name, pepper=pepper))[1]
                for name in ("busy", "quiet")
            ]
    finally:
        await database.close()
    return made[0], made[1]
