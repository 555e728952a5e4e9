"""One caller's requests at a door leave room for others: seats, connections and documents are shared fairly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2
import pytest
from answers_with_connections import HeldConnections
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from waiting import until

from finpool.apps import operator, regulator, tenant
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.door.seats import DOCUMENTS_WAITING_MAX, DoorSeats
from finpool.kernel.door.web import TenantSession, requires
from finpool.kernel.ids import ProjectId, TenantId
from finpool.kernel.settings import Settings
from finpool.quota.models import Account
from finpool.tenancy.models import Tenant

BUSY, OTHER = "bank-c", "bank-b"
END_THOSE_THAT_WAIT = "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE relation = $1::regclass AND NOT granted"
WAITING_AT_THE_LOCK = "SELECT count(*) FROM pg_locks WHERE relation = $1::regclass AND NOT granted"


class ByName:
    """Knows a caller by the name in its credential; the table of routes and roles is tested apart."""

    async def authenticate(self, credential: str) -> Actor:
        if credential.startswith("bank"):
            return Actor(Audience.TENANT, "key_1", Role.TENANT_OWNER, TenantId(credential), ProjectId("credit"))
        return Actor(Audience.OPERATOR, credential, Role.OPERATOR_ADMIN)

    def authorize(self, actor: Actor, permission: str) -> None:
        """Let everybody in."""


@dataclass
class Opened:
    """A running door."""

    app: FastAPI

    @property
    def seats(self) -> DoorSeats:
        found: DoorSeats = self.app.state.seats
        return found

    def client(self, caller: str) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {caller}"}
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://door", headers=headers)


@pytest.fixture
async def open_door(settings: Settings, database: Callable[[str], Database]) -> AsyncIterator[Any]:
    """Open a door with two banks: `await open_door("tenant")`; keyword arguments are settings."""
    async with database("operator").across_tenants() as session:
        for name in (BUSY, OTHER):
            session.add(Tenant(tenant_id=name, name=name, status="active", models=["*"], version=1, created_at=now()))
            await session.flush()
            session.add(Account(tenant_id=name, updated_at=now()))
    async with AsyncExitStack() as stack:

        async def opened(name: str, **changed: Any) -> Opened:
            wanted = settings.model_copy(update=changed)
            apps = {"operator": operator.create_app, "regulator": regulator.create_app}
            app = apps[name](wanted) if name in apps else tenant.create_app(wanted, ByName())
            await stack.enter_async_context(app.router.lifespan_context(app))
            app.state.gatekeeper = ByName()
            return Opened(app)

        yield opened


@asynccontextmanager
async def locked(settings: Settings, table: str) -> AsyncIterator[Callable[[], Any]]:
    """Hold every reader of a table at a barrier; yields the count of those that wait there."""
    owner = await asyncpg.connect(settings.database_url("owner"))
    watcher = await asyncpg.connect(settings.database_url("owner"))
    try:
        async with owner.transaction():
            await owner.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

            async def waiting() -> int:
                found: int = await watcher.fetchval(WAITING_AT_THE_LOCK, table)
                return found

            yield waiting
    finally:
        await owner.close()
        await watcher.close()


def many(client: httpx2.AsyncClient, path: str, number: int) -> list[asyncio.Task[httpx2.Response]]:
    return [asyncio.create_task(client.get(path)) for _ in range(number)]


def statuses(answers: list[httpx2.Response]) -> dict[int, int]:
    found = [each.status_code for each in answers]
    return {status: found.count(status) for status in sorted(set(found))}


async def test_a_bank_is_answered_while_all_requests_of_another_are_held(open_door: Any, settings: Settings) -> None:
    door = await open_door("tenant")
    async with door.client(BUSY) as busy, door.client(OTHER) as other:
        async with locked(settings, "invoice") as waiting:
            held = many(busy, "/v1/organization/invoices", 30)
            share = door.seats.connections.of_one_max
            await until(lambda: door.seats.requests.waiting_of(BUSY) == settings.caller_requests_waiting_max, "queued")

            async def at_the_barrier() -> bool:
                return bool(await waiting() == share)

            await until(at_the_barrier, "the share of its connections is in use")
            refused = await until(lambda: [each for each in held if each.done()], "those beyond the queue are refused")
            views = [await other.get("/v1/organization/account") for _ in range(5)]
            assert door.seats.requests.held_by(BUSY) == settings.caller_requests_max
        answers = await asyncio.gather(*held)
    assert statuses(views) == {200: 5}
    assert share < settings.database_pool_connections_max
    kept = settings.caller_requests_max + settings.caller_requests_waiting_max
    assert statuses(answers) == {200: kept, 429: 30 - kept}
    refusal = refused[0].result()
    assert refusal.headers["retry-after"] == "1"
    assert refusal.json()["error"]["code"] == "too_many_at_once"


async def test_waiting_banks_get_connections_in_turn_and_not_by_arrival(open_door: Any, settings: Settings) -> None:
    door = await open_door("tenant", database_pool_connections_max=1)
    order: list[str] = []

    async def asked(client: httpx2.AsyncClient, name: str) -> None:
        answer = await client.get("/v1/organization/invoices")
        assert answer.status_code == 200
        order.append(name)

    async with door.client(BUSY) as busy, door.client(OTHER) as other:
        async with locked(settings, "invoice") as waiting:
            tasks = [asyncio.create_task(asked(busy, BUSY)) for _ in range(6)]
            await until(waiting, "one is at the barrier")
            await until(lambda: door.seats.connections.waiting_of(BUSY) == 5, "the others wait for the connection")
            tasks.append(asyncio.create_task(asked(other, OTHER)))
            await until(lambda: door.seats.connections.waiting_of(OTHER), "the other bank waits")
        await asyncio.gather(*tasks)
    assert OTHER in order[:3], order


async def test_documents_have_bounds_of_their_own(open_door: Any) -> None:
    door = await open_door("tenant")
    focus = "/v1/organization/focus?from=2026-01&to=2026-01"
    async with door.client(BUSY) as busy, door.client(OTHER) as other, door.seats.documents.seat(BUSY):
        held = many(busy, focus, DOCUMENTS_WAITING_MAX)
        await until(lambda: door.seats.documents.waiting_of(BUSY) == DOCUMENTS_WAITING_MAX, "they wait")
        refused = await busy.get(focus)
        own_view, view, export = (
            await busy.get("/v1/organization/account"),
            await other.get("/v1/organization/account"),
            await other.get(focus),
        )
        assert [each.done() for each in held] == [False] * DOCUMENTS_WAITING_MAX
        for each in held:
            each.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert door.seats.documents.waiting_of(BUSY) == 0
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert "Too many documents" in refused.json()["error"]["message"]
    assert [own_view.status_code, view.status_code, export.status_code] == [200, 200, 200]


@pytest.mark.parametrize(
    ("name", "path", "table"), [("operator", "/v1/disputes", "dispute"), ("regulator", "/v1/entries", "audit_entry")]
)
async def test_one_token_leaves_connections_for_others_and_for_authentication(
    open_door: Any, settings: Settings, name: str, path: str, table: str
) -> None:
    door = await open_door(name)
    async with door.client("token_busy") as busy, door.client("token_other") as other:
        async with locked(settings, table) as waiting:
            held = many(busy, path, 12)
            share = door.seats.connections.of_one_max

            async def at_the_barrier() -> bool:
                return bool(await waiting() == share)

            await until(at_the_barrier, "the share of its connections is in use")
            view = await other.get("/v1/tenants" if name == "operator" else "/v1/institutions")
            assert (await other.get("/readyz")).status_code == 200
        answers = await asyncio.gather(*held)
    assert view.status_code == 200
    assert statuses(answers) == {200: 12}
    pool = settings.database_pool_connections_max
    assert 2 * share <= pool - 1, "two persons leave one connection for authentication"


async def test_a_query_at_its_time_limit_is_a_504_that_asks_for_less(open_door: Any, settings: Settings) -> None:
    door = await open_door("tenant")
    same_role = await asyncpg.connect(settings.database_url("tenant"))
    async with door.client(BUSY) as busy, locked(settings, "invoice") as waiting:
        asked = asyncio.create_task(busy.get("/v1/organization/invoices"))
        await until(waiting, "it runs")
        assert await same_role.fetchval(END_THOSE_THAT_WAIT, "invoice")
        answer = await asked
        assert (await busy.get("/v1/organization/account")).status_code == 200, "its connection serves on"
    await same_role.close()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "query_too_long")
    assert answer.headers["x-should-retry"] == "false"
    assert "shorter time range" in answer.json()["error"]["message"]


async def test_the_check_of_held_connections_finds_a_route_that_holds_one(open_door: Any) -> None:
    door = await open_door("tenant")

    async def holds(session: TenantSession) -> dict[str, int]:
        return {"answer": 1}

    door.app.router.routes.append(APIRoute("/held", holds, dependencies=[Depends(requires("account:read"))]))
    async with door.client(BUSY) as busy:
        assert (await busy.get("/held")).json() == {"answer": 1}
    assert len(HeldConnections.faults) == 1
    HeldConnections.faults.clear()
