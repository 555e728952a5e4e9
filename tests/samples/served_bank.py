"""A bank's door in this process, on real Postgres and before the scripted engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvicorn
from aiohttp import ClientSession
from openai import AsyncOpenAI

from finpool.apps.inference import create_app
from finpool.identity.schemas import NewKey
from finpool.identity.service import create_key
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database import Database
from finpool.kernel.ids import ModelId, ReplicaId, TenantId
from finpool.kernel.settings import Settings
from finpool.metering.recorder.recorder import Recorder
from finpool.quota.account.service import account_view
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import AccountView, Limits, operator_limit
from finpool.tenancy.schemas import NewProject, NewTenant
from finpool.tenancy.service import create_project, create_tenant

MODEL = ModelId("smollm2-135m-instruct")
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)


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
        tenant = TenantId(tenant_id)
        pepper = self.settings.secret("key_pepper")
        async with self.operator.across_tenants() as session:
            await create_tenant(session, OPERATOR, NewTenant(id=tenant_id, name=tenant_id), [MODEL])
            await create_project(session, OPERATOR, tenant, NewProject(id="main", name="Main"))
            new = NewKey(project_id="main", name="test", role="owner")
            _, secret = await create_key(session, OPERATOR, tenant, new, pepper=pepper)
            granted = Limits(**{"budget_total_micros": 1_000_000, **limits})
            await write_limits(session, tenant, operator_limit(tenant), granted)
        await self.wait_until_known(secret)
        return secret

    async def wait_until_known(self, secret: str) -> None:
        """Wait until the door has heard of a new key; changes are pushed, so this takes milliseconds."""
        async with ClientSession(headers={"authorization": f"Bearer {secret}"}) as session:
            for _ in range(200):
                async with session.get(f"{self.url}/v1/models") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.01)
        raise AssertionError("the door never heard of the key")

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

    async def account(self, tenant_id: str) -> AccountView:
        async with self.operator.across_tenants() as session:
            return await account_view(session, TenantId(tenant_id))

    async def settled(self, tenant_id: str) -> AccountView:
        """Record until nothing is pending; fails if something stays held."""
        for _ in range(200):
            await self.record()
            view = await self.account(tenant_id)
            if view.pending_micros == 0:
                return view
            await asyncio.sleep(0.05)
        raise AssertionError(f"still pending: {view}")

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
        self._server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=self.door_port, log_config=None, ws="none")
        )
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            assert not self._serving.done(), "the door did not open"
            await asyncio.sleep(0.01)

    async def _close(self) -> None:
        self._server.should_exit = True
        await self._serving
