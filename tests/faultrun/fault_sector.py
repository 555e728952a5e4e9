"""The sector under test: its own Postgres, its tenants with their limits, and who watches that the limits hold."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from fault_checks import MICROS
from signed_context import SignedConnection
from sqlalchemy import text
from truth_engine import MODEL

from finpool.apps.migrate import migrate
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.service import draft_invoice, issue_invoice
from finpool.identity.schemas import NewKey
from finpool.identity.service import create_key
from finpool.installation.postgres import postgres_pid, start_postgres, stop_postgres
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ModelId, TenantId
from finpool.kernel.settings import Settings
from finpool.tenancy.schemas import NewProject, NewTenant
from finpool.tenancy.service import create_project, create_tenant

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)
TERMS = BillingTerms(currency="CNY", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=600)
PEPPER = "p" * 64
_START = (
    "import sys, pathlib; from finpool.installation.postgres import start_postgres as s; s(pathlib.Path(sys.argv[1]))"
)
_OLDER = text("UPDATE tenant SET created_at = created_at - interval '100 days' WHERE tenant_id = :tenant_id")
Limit = tuple[str, str, str, str]
"""A tenant, a scope, its id, and the column of the limit."""

_SET_LIMIT = """
    INSERT INTO quota_limit (tenant_id, set_by, scope, scope_id, {column}, soft_thresholds_percent, updated_at)
    VALUES ($1, 'operator', $2, $3, $4, '{{}}', now())
    ON CONFLICT (tenant_id, set_by, scope, scope_id) DO UPDATE SET {column} = excluded.{column}
"""
_HELD = """
    SELECT b.tenant_id, b.budget_id, b.posted_picos + b.pending_picos AS held_picos,
        CASE b.period WHEN 'day' THEN l.budget_day_micros WHEN 'month' THEN l.budget_month_micros
        ELSE l.budget_total_micros END AS limit_micros
    FROM budget b JOIN quota_limit l USING (tenant_id, set_by, scope, scope_id)
"""
_SHARED = """
    SELECT s.tenant_id, s.limit_id, s.rate, sum(s.amount) AS amount, min(CASE s.rate
        WHEN 'requests' THEN l.requests_per_minute WHEN 'tokens' THEN l.tokens_per_minute ELSE l.concurrency
        END) AS limit_amount
    FROM rate_share s JOIN quota_limit l ON l.tenant_id = s.tenant_id
        AND s.limit_id = l.set_by || '/' || l.scope || '/' || l.scope_id
    WHERE s.expires_at > clock_timestamp() GROUP BY 1, 2, 3
"""


def _is_over(row: asyncpg.Record) -> bool:
    """Tell whether a budget has spent and holds more than its limit is now."""
    return row["limit_micros"] is not None and row["held_picos"] > row["limit_micros"] * MICROS


@contextmanager
def own_postgres() -> Iterator[tuple[Path, dict[str, str]]]:
    """Run a Postgres that the run may stop; yield its home and its URLs by role."""
    home = Path(tempfile.mkdtemp(prefix="finpool-faults-"))
    try:
        server = start_postgres(home)
        urls: dict[str, Any] = {f"{role}_database_url": url for role, url in server.urls.items()}
        migrate(Settings(**urls))
        yield home, server.urls
    finally:
        stop_postgres(home)
        shutil.rmtree(home, ignore_errors=True)


def crash_postgres(home: Path) -> None:
    """End the server without a checkpoint, as a crash does, and wait until it is gone."""
    pid = postgres_pid(home)
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + 30
        while postgres_pid(home) is not None and time.monotonic() < deadline:
            time.sleep(0.02)


def start_postgres_again(home: Path) -> None:
    """Start the server from another process: the wheel starts one only once in each."""
    subprocess.run([sys.executable, "-c", _START, str(home)], check=True, timeout=60)


@dataclass
class Sector:
    """The operators' side of a running sector. `url`: the operator's role, on a line without faults.

    `ceilings`: what budgets held in picos when they were lowered below it, by tenant and budget; from there it may only
    become less.
    """

    url: str
    over: list[str] = field(default_factory=list)
    ceilings: dict[tuple[str, str], int] = field(default_factory=dict)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    samples: int = 0

    async def connect(self) -> SignedConnection:
        """Open a connection that sees all tenants."""
        return await SignedConnection.opened(self.url)

    async def add_tenant(self, tenant_id: str) -> tuple[str, str]:
        """Create a tenant, old enough for invoices of past months, with a project and a key.

        Returns the key's id and its secret.
        """
        database, tenant = Database(self.url, 1), TenantId(tenant_id)
        try:
            async with database.across_tenants() as session:
                await create_tenant(session, OPERATOR, NewTenant(id=tenant_id, name=tenant_id), [ModelId(MODEL)])
                await create_project(session, OPERATOR, tenant, NewProject(id="main", name="Main"))
                new = NewKey(project_id="main", name="test", role="owner")
                key, secret = await create_key(session, OPERATOR, tenant, new, pepper=PEPPER.encode())
                await session.execute(_OLDER, {"tenant_id": tenant_id})
        finally:
            await database.close()
        return key.key_id, secret

    async def limit(self, limit: Limit, amount: int) -> None:
        """Set one limit, as an operator does; the excess of a lowered budget is noted in the same moment."""
        tenant_id, scope, scope_id, column = limit
        connection = await self.connect()
        try:
            async with self.changing, connection.transaction():
                account = "INSERT INTO account (tenant_id, posted_picos, updated_at) VALUES ($1, 0, now())"
                await connection.execute(f"{account} ON CONFLICT DO NOTHING", tenant_id)
                # A lease is granted under the account's lock, so nothing is granted between the look and the commit.
                await connection.execute("SELECT 1 FROM account WHERE tenant_id = $1 FOR UPDATE", tenant_id)
                await connection.execute(_SET_LIMIT.format(column=column), tenant_id, scope, scope_id, amount)
                for row in await connection.fetch(_HELD):
                    if row["tenant_id"] == tenant_id and _is_over(row):
                        key = (tenant_id, row["budget_id"])
                        held_picos = int(row["held_picos"])
                        self.ceilings[key] = min(held_picos, self.ceilings.get(key, held_picos))
        finally:
            await connection.close()

    async def watch(self, stop: asyncio.Event) -> None:
        """Look again and again whether any budget is over its limit; a server that is gone is waited for."""
        while not stop.is_set():
            try:
                connection = await self.connect()
                try:
                    while not stop.is_set():
                        await self.look(connection)
                        await asyncio.sleep(0.05)
                finally:
                    await connection.close()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.1)

    async def look(self, connection: SignedConnection) -> None:
        """Note each budget that has spent and holds more than its limit, and each rate of which more is shared out."""
        self.samples += 1
        async with self.changing:
            await self._look_at_budgets(connection)
        for row in await connection.fetch(_SHARED):
            if row["limit_amount"] is not None and row["amount"] > row["limit_amount"]:
                self.over.append(f"{row['tenant_id']}: shares of {row['limit_id']} {row['rate']} are {row['amount']}")

    async def _look_at_budgets(self, connection: SignedConnection) -> None:
        for row in await connection.fetch(_HELD):
            key, held_picos = (row["tenant_id"], row["budget_id"]), int(row["held_picos"])
            if not _is_over(row):
                self.ceilings.pop(key, None)
            elif held_picos > self.ceilings.get(key, 0):
                self.over.append(f"{row['tenant_id']}: {row['budget_id']} {held_picos} > {row['limit_micros']}")
            else:
                self.ceilings[key] = held_picos

    async def invoice(self, tenant_id: str, month: str) -> None:
        """Draft the invoice of everything up to the end of a month that is over, and issue it."""
        database, tenant = Database(self.url, 1), TenantId(tenant_id)
        try:
            async with database.across_tenants() as session:
                draft = await draft_invoice(session, OPERATOR, tenant, month, TERMS)
            async with database.across_tenants() as session:
                await issue_invoice(session, OPERATOR, tenant, draft.id)
        finally:
            await database.close()

    async def at_rest(self, seconds_max: float) -> bool:
        """Wait until no lease is open; tells whether that was so in time."""
        connection = await self.connect()
        try:
            deadline = time.monotonic() + seconds_max
            while time.monotonic() < deadline:
                if not await connection.fetch("SELECT FROM lease WHERE closed_at IS NULL LIMIT 1"):
                    return True
                await asyncio.sleep(0.1)
            return False
        finally:
            await connection.close()
