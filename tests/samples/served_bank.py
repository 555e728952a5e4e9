"""A bank's door in this process, on real Postgres and before the scripted engine."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvicorn
from new_bank import new_bank
from observed_feed import HeardChanges
from openai import AsyncOpenAI
from served_app import served
from sqlalchemy import text
from waiting import until

from finpool.apps.http_limits import http_protocol
from finpool.apps.inference import create_app
from finpool.kernel.database.database import CHANGES_CHANNEL, Database
from finpool.kernel.ids import ReplicaId, TenantId, new_id
from finpool.kernel.settings import Settings
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.file import FILE_NAME
from finpool.quota.account.service import account_view
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import AccountView, Limits, operator_limit

CHANGE_SECONDS_MAX = 60


@dataclass
class ServedBank:
    """A running door, one tenant's key at a time, and what tests look at behind it."""

    settings: Settings
    engine: Any
    operator: Database
    worker: Database
    door_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door_port}"

    def client(self, key: str, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    async def add_tenant(self, tenant_id: str, **limits: Any) -> str:
        """Create a tenant with a project and a key; returns the secret."""
        async with self.operator.across_tenants() as session:
            granted = {"budget_total_micros": 1_000_000, **limits}
            _, secret = await new_bank(session, self.settings, tenant_id, **granted)
        await self.hears_changes()
        return secret

    async def hears_changes(self) -> None:
        """Wait until the door has taken in every change that is committed.

        The feed reads the changes of one moment in any order, and those of a later moment after them. So what was
        committed before the first of two notifications is known with the second.
        """
        for _ in range(2):
            named, full_loads = TenantId(new_id("nobody")), self._heard.full_loads
            async with self.operator.across_tenants() as session:
                notify = text("SELECT pg_notify(:channel, json_build_object('tenant_id', cast(:named AS text))::text)")
                await session.execute(notify, {"channel": CHANGES_CHANNEL, "named": named})
            async with asyncio.timeout(CHANGE_SECONDS_MAX):
                await self._heard.of(named, full_loads)

    async def change_limits(self, tenant_id: str, **limits: Any) -> None:
        async with self.operator.across_tenants() as session:
            tenant = TenantId(tenant_id)
            await write_limits(session, tenant, operator_limit(tenant), Limits(**limits))

    async def record(self) -> int:
        """Record what the spool holds; returns how many records there were."""
        recorder = Recorder(self.worker, self.settings.spool_path, ReplicaId(self.settings.replica_id))
        try:
            total = 0
            while count := await recorder.run_once():
                total += count
            return total
        finally:
            recorder.close()

    def admitted(self) -> int:
        """Return how many requests are on record as begun and not as ended."""
        with closing(sqlite3.connect(self.settings.spool_path / FILE_NAME, timeout=10)) as connection:
            count: int = connection.execute("SELECT count(*) FROM intent").fetchone()[0]
            return count

    async def account(self, tenant_id: str) -> AccountView:
        async with self.operator.across_tenants() as session:
            return await account_view(session, TenantId(tenant_id))

    async def settled(self, tenant_id: str) -> AccountView:
        """Record until nothing is pending; fails if something stays held."""

        async def recorded_all() -> AccountView | None:
            await self.record()
            view = await self.account(tenant_id)
            return view if view.pending_micros == 0 else None

        return await until(recorded_all, "nothing is pending", pause_seconds=0.05)

    async def usage(self, tenant_id: str) -> list[dict[str, Any]]:
        """Record what the spool holds, and return the tenant's usage records, oldest first."""
        await self.record()
        return await self.usage_recorded(tenant_id)

    async def usage_recorded(self, tenant_id: str) -> list[dict[str, Any]]:
        """Return the tenant's usage records, oldest first."""
        async with self.worker.across_tenants() as session:
            connection = await session.connection()
            rows = await connection.exec_driver_sql(
                "SELECT * FROM usage_record WHERE tenant_id = $1 ORDER BY spool_seq", (tenant_id,)
            )
            return [dict(row) for row in rows.mappings()]

    async def restart(self) -> None:
        """Stop the door and open it again, on the same state and port."""
        async with self.stopped():
            pass

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Hold the door closed for a while."""
        await self._close()
        yield
        await self._open()

    async def leases_fail(self) -> None:
        """Take the inference role's right to read accounts, until the end of the test."""
        owner = await asyncpg.connect(self.settings.database_url("owner"))
        try:
            await owner.execute("REVOKE UPDATE (pending_picos) ON budget FROM finpool_inference")
        finally:
            await owner.close()

    @asynccontextmanager
    async def open_door(self) -> AsyncIterator[None]:
        """Serve the inference app."""
        await self._open()
        try:
            yield
        finally:
            await self._close()

    async def _open(self) -> None:
        app = create_app(self.settings)
        self._heard: HeardChanges = app.state.feed.heard
        http = http_protocol(self.settings)
        config = uvicorn.Config(app, host="127.0.0.1", port=self.door_port, log_config=None, ws="none", http=http)
        self._open_door = AsyncExitStack()
        await self._open_door.enter_async_context(served(config))

    async def _close(self) -> None:
        await self._open_door.aclose()
