"""Tenants of a sector as operators see them, and gateways as real processes that a test may kill."""

import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from forked_processes import Launcher
from new_bank import OPERATOR, new_bank
from openai import AsyncOpenAI
from waiting import until

from finpool.identity.schemas import NewKey
from finpool.identity.service import create_key
from finpool.installation.process.components import INFERENCE, Component, component_environment
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.kernel.settings import Settings
from finpool.quota.account.service import account_view
from finpool.quota.schemas import AccountView

START_SECONDS_MAX = 300


@dataclass
class ReplicaProcesses:
    """One inference process and its worker: a spool, a port and an environment of their own."""

    settings: Settings
    options: dict[str, str]
    launcher: Launcher
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def client(self, key: str, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, **{"max_retries": 0, "timeout": 30.0, **options})

    def start(self, component: Component) -> None:
        urls = {role: self.settings.database_url(role) for role in component.database_roles}
        environment = {**component_environment(component, self.settings, urls), **self.options}
        log = str(self.settings.home / f"{component.name}.log")
        self.pids[component.name] = self.launcher.start(
            {"component": component.name, "environment": environment, "log": log, "skew": None, "plants": []}
        )

    def runs(self, component: Component) -> bool:
        """Tell whether a process was started and has not ended."""
        return component.name in self.pids and self.launcher.running(self.pids[component.name])

    def end(self, component: Component, number: signal.Signals) -> None:
        """Send a signal and wait until the process is gone."""
        pid = self.pids.pop(component.name, None)
        if pid is not None:
            self.launcher.end(pid, number)

    async def ready(self) -> None:
        """Wait until the door answers."""
        async with ClientSession(timeout=ClientTimeout(total=5)) as session:

            async def answers() -> bool:
                assert self.runs(INFERENCE), self.log()
                with suppress(ClientError, TimeoutError):
                    async with session.get(f"{self.url}/readyz") as response:
                        return response.status == 200
                return False

            await until(answers, "the door answers", seconds_max=START_SECONDS_MAX, pause_seconds=0.02)

    async def knows(self, secret: str) -> None:
        """Wait until the door has heard of a key."""
        async with ClientSession(headers={"authorization": f"Bearer {secret}"}) as session:

            async def is_known() -> bool:
                async with session.get(f"{self.url}/v1/models") as response:
                    return response.status == 200

            await until(is_known, "the door knows the key")

    def log(self) -> str:
        return "\n".join(
            path.read_text()[-4000:]
            for path in (self.settings.home / f"{name}.log" for name in ("inference", "worker"))
        )


class Sector:
    """The operators' side: tenants, their accounts and their usage records."""

    def __init__(self, settings: Settings, operator: Database) -> None:
        self._settings = settings
        self._operator = operator

    async def add_tenant(self, tenant_id: str, budget_micros: int) -> tuple[str, str]:
        """Create a tenant with a key; returns the key's id and its secret."""
        async with self._operator.across_tenants() as session:
            return await new_bank(session, self._settings, tenant_id, budget_total_micros=budget_micros)

    async def account(self, tenant_id: str) -> AccountView:
        async with self._operator.across_tenants() as session:
            return await account_view(session, TenantId(tenant_id))

    async def settled(self, tenant_id: str) -> AccountView:
        """Wait until nothing is pending; fails if something stays held."""

        async def nothing_pending() -> AccountView | None:
            view = await self.account(tenant_id)
            return view if view.pending_micros == 0 else None

        return await until(nothing_pending, "nothing is pending", pause_seconds=0.05)

    async def changes_are_heard(self, tenant_id: str, *replicas: ReplicaProcesses) -> None:
        """Wait until each replica has taken in every change of a tenant that is committed.

        A replica reads the changes of one moment together, a key perhaps first, and a later key after all of them.
        """
        for name in ("first", "second"):
            new = NewKey(project_id="main", name=name, role="owner")
            async with self._operator.across_tenants() as session:
                pepper = self._settings.secret("key_pepper")
                _, secret = await create_key(session, OPERATOR, TenantId(tenant_id), new, pepper=pepper)
            for replica in replicas:
                await replica.knows(secret)

    async def usage(self, tenant_id: str) -> list[dict[str, Any]]:
        async with self._operator.across_tenants() as session:
            connection = await session.connection()
            query = "SELECT * FROM usage_record WHERE tenant_id = $1 ORDER BY settled_at"
            rows = await connection.exec_driver_sql(query, (tenant_id,))
            return [dict(row) for row in rows.mappings()]
