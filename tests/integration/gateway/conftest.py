"""A bank's door on real Postgres, before an engine whose answers a test scripts."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import pytest
import uvicorn
from aiohttp import ClientSession, web
from openai import AsyncOpenAI

from finpool.apps.inference import create_app
from finpool.identity.schemas import NewKey
from finpool.identity.service import create_key
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database import Database
from finpool.kernel.ids import ReplicaId, TenantId
from finpool.kernel.settings import Settings
from finpool.metering.recorder import Recorder
from finpool.quota.repository import set_limits
from finpool.quota.schemas import AccountView, Limits
from finpool.quota.service import account_view
from finpool.tenancy.schemas import NewProject, NewTenant
from finpool.tenancy.service import create_project, create_tenant

MODEL = "smollm2-135m-instruct"
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ScriptedEngine:
    """Speaks the engines' protocol: `output_tokens` words, a pause after each, and faults on demand."""

    input_tokens: int = 10
    output_tokens: int = 5
    pause_seconds: float = 0.0
    break_after: int | None = None
    refuse_with: int | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    under_way: int = 0
    under_way_max: int = 0
    aborted: int = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer one chat completion."""
        self.bodies.append(await request.json())
        if self.refuse_with is not None:
            error = {
                "message": "too long",
                "type": "invalid_request_error",
                "param": None,
                "code": "context_length_exceeded",
            }
            return web.json_response({"error": error}, status=self.refuse_with)
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        try:
            return await self._stream(request)
        except (ConnectionError, asyncio.CancelledError):
            self.aborted += 1
            raise
        finally:
            self.under_way -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for count in range(1, self.output_tokens + 1):
            delta: dict[str, Any] = {"content": f"w{count} "}
            if count == 1:
                delta["role"] = "assistant"
            finish = "stop" if count == self.output_tokens else None
            await self._send(response, [{"index": 0, "delta": delta, "finish_reason": finish}], count)
            if self.break_after == count:
                assert request.transport is not None
                request.transport.close()
                return response
            await asyncio.sleep(self.pause_seconds)
        await self._send(response, [], self.output_tokens)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, choices: list[dict[str, Any]], output_tokens: int) -> None:
        usage = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": self.input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
        await response.write(b"data: " + orjson.dumps({**chunk, "usage": usage}) + b"\n\n")


@dataclass
class Bank:
    """A running door, one tenant's key at a time, and what tests look at behind it."""

    settings: Settings
    engine: ScriptedEngine
    operator: Database
    worker: Database
    door_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door_port}"

    def client(self, key: str, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    async def add_tenant(self, tenant_id: str, **limits: int) -> str:
        """Create a tenant with a project and a key; returns the secret."""
        tenant = TenantId(tenant_id)
        pepper = self.settings.secret("key_pepper")
        async with self.operator.across_tenants() as session:
            await create_tenant(session, OPERATOR, NewTenant(id=tenant_id, name=tenant_id), [MODEL])
            await create_project(session, OPERATOR, tenant, NewProject(id="main", name="Main"))
            new = NewKey(project_id="main", name="test", role="owner")
            _, secret = await create_key(session, OPERATOR, tenant, new, pepper=pepper)
            await set_limits(session, tenant, Limits(**{"budget_micros": 1_000_000, **limits}))
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

    async def change_limits(self, tenant_id: str, **limits: int) -> None:
        async with self.operator.across_tenants() as session:
            await set_limits(session, TenantId(tenant_id), Limits(**limits))

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
        """Return the tenant's usage records, oldest first."""
        await self.record()
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
            await owner.execute("REVOKE UPDATE (pending_picos) ON account FROM finpool_inference")
        finally:
            await owner.close()

    @asynccontextmanager
    async def open_door(self) -> AsyncIterator[None]:
        """Serve the inference app on a port of its own."""
        self.door_port = free_port()
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


@pytest.fixture
async def engine_port() -> int:
    return free_port()


@pytest.fixture
async def engine(engine_port: int) -> AsyncIterator[ScriptedEngine]:
    scripted = ScriptedEngine()
    app = web.Application()
    app.router.add_post(f"/engines/{MODEL}/v1/chat/completions", scripted.chat)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", engine_port).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def bank(settings: Settings, engine: ScriptedEngine, engine_port: int, database: Any) -> AsyncIterator[Bank]:
    changed = settings.model_copy(update={"serve_url": f"http://127.0.0.1:{engine_port}", "lease_idle_seconds": 0.2})
    opened = Bank(changed, engine, operator=database("operator"), worker=database("worker"))
    owner = await asyncpg.connect(settings.database_url("owner"))
    await owner.execute("GRANT UPDATE (pending_picos) ON account TO finpool_inference")
    await owner.close()
    async with opened.open_door():
        yield opened
