"""How long one invoice over a million usage records takes, and how much memory: `python tests/bench/invoice.py`.

It runs on a Postgres of its own, which it removes again. The goal is 20 seconds and 500 MB on two cores.
"""

import argparse
import asyncio
import resource
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text

from finpool.apps.migrate import migrate
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.service import draft_invoice, issue_invoice
from finpool.installation.postgres import start_postgres, stop_postgres
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.kernel.settings import Settings

BANK = TenantId("bank-a")
OPERATOR = Actor(Audience.OPERATOR, "token_bench", Role.OPERATOR_BILLING)
TERMS = BillingTerms(currency="CNY", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=600)
PROJECTS, MODELS, VERSIONS = 20, 10, 3

SETUP = f"""
INSERT INTO tenant VALUES ('{BANK}', 'Bank A', 'active', '{{*}}', 1, '2025-01-01Z');
INSERT INTO account (tenant_id, usage_seq, updated_at) VALUES ('{BANK}', $rows, now());
CREATE TEMPORARY TABLE price AS
    SELECT 'model-' || m AS model_id, m, v, 1000 * m + v AS input, 200 * m AS cached, 4000 * m AS output
    FROM generate_series(1, {MODELS}) m, generate_series(0, {VERSIONS - 1}) v;
ALTER TABLE price ADD COLUMN version text;
UPDATE price SET version = model_id || '@' || left(encode(sha256((
    '{{"cached_input_micros_per_million_tokens":' || cached || ',"currency":"CNY","input_micros_per_million_tokens":'
    || input || ',"output_micros_per_million_tokens":' || output || '}}')::bytea), 'hex'), 12);
INSERT INTO price_version SELECT version, model_id, 'CNY', input, cached, output, now() FROM price;
INSERT INTO usage_record
    SELECT '{BANK}', 'req_' || n, 'project-' || n % {PROJECTS}, 'key_1', model_id, 'w', version, 'CNY',
        1000 + n % 7919, n % 997, n % 1009,
        (1000 + n % 7919 - n % 997) * input::numeric + n % 997 * cached + n % 1009 * output,
        'completed', false, true, 1, 'local', n, moment, moment, '{{}}', 'standard', n, moment
    FROM generate_series(1, $rows) n
    CROSS JOIN LATERAL (SELECT timestamptz '2025-01-01Z' + n * interval '31 days' / ($rows + 1) AS moment) at
    JOIN price ON price.m = 1 + n / {PROJECTS} % {MODELS} AND price.v = n % {VERSIONS};
ANALYZE usage_record;
"""


async def fill(owner_url: str, rows: int) -> int:
    """Write the records; return what they cost, in picos."""
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("SELECT set_config('finpool.tenant_id', $1, false)", BANK)
        await connection.execute(SETUP.replace("$rows", str(rows)))
        return int(await connection.fetchval("SELECT sum(cost_picos) FROM usage_record"))
    finally:
        await connection.close()


def kilobytes_of(pid: int) -> int:
    """Return the most memory that a process had of its own so far, in kB; shared buffers count once touched."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


async def measure(owner_url: str, operator_url: str, rows: int) -> None:
    """Fill, draft, issue, and print the figures; raises if the invoice is not exactly the usage."""
    used = await fill(owner_url, rows)
    database = Database(operator_url, connections_max=1)
    started = time.perf_counter()
    async with database.across_tenants() as session:
        draft = await draft_invoice(session, OPERATOR, BANK, "2025-01", TERMS)
        backend = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    drafted = time.perf_counter()
    async with database.across_tenants() as session:
        invoice = await issue_invoice(session, OPERATOR, BANK, draft.id)
    issued = time.perf_counter()
    backend_kilobytes = kilobytes_of(int(backend))
    await database.close()
    if sum(line.amount_picos for line in invoice.lines) != used:
        raise SystemExit("the invoice is not the usage")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        f"{datetime.now(UTC):%Y-%m-%d} {rows} usage records, {len(invoice.lines)} lines:"
        f" drafted in {drafted - started:.2f} s, issued in {issued - drafted:.2f} s;"
        f" peak memory {own // 1024} MB here, {backend_kilobytes // 1024} MB in the database's process\n"
    )


def main() -> None:
    """Parse the command line, and clean up in any case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    home = Path(tempfile.mkdtemp(prefix="finpool-bench-"))
    try:
        server = start_postgres(home)
        urls: dict[str, Any] = {f"{role}_database_url": url for role, url in server.urls.items()}
        migrate(Settings(**urls))
        asyncio.run(measure(server.urls["owner"], server.urls["operator"], rows))
    finally:
        stop_postgres(home)
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
