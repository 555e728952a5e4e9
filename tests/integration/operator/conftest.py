"""The operators' door: the real app over a real database, and who calls it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
from model_life import LifeWriter

from finpool.apps.operator import create_app
from finpool.identity.platform_tokens import issue_platform_token
from finpool.kernel.actor import Role
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings

Client = httpx2.AsyncClient


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    """Call the operators' door without a credential."""
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), Client(transport=transport, base_url="http://operator") as client:
        yield client


@pytest.fixture
async def token(settings: Settings, database: Callable[[str], Database]) -> Callable[..., Any]:
    """Issue a token: `await token(Role.OPERATOR_SRE)`."""

    async def issue(role: Role) -> str:
        async with database("owner").across_tenants() as session:
            return (await issue_platform_token(session, role, "a person", pepper=settings.secret("key_pepper")))[1]

    return issue


@pytest.fixture
async def admin(client: Client, token: Callable[..., Any]) -> Client:
    """Call the operators' door as an administrator."""
    client.headers["authorization"] = f"Bearer {await token(Role.OPERATOR_ADMIN)}"
    return client


@pytest.fixture
def create_bank(admin: Client) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Create a tenant with one project and one key, and return the key: `await create_bank("bank-a")`."""

    async def create(tenant_id: str = "bank-a") -> dict[str, Any]:
        assert (await admin.post("/v1/tenants", json={"id": tenant_id, "name": "A bank"})).status_code == 201
        project = {"id": "retail", "name": "Retail"}
        assert (await admin.post(f"/v1/tenants/{tenant_id}/projects", json=project)).status_code == 201
        key = await admin.post(f"/v1/tenants/{tenant_id}/keys", json={"project_id": "retail", "name": "first"})
        assert key.status_code == 201
        body: dict[str, Any] = key.json()
        return body

    return create


@pytest.fixture
async def pool(database: Callable[[str], Database]) -> LifeWriter:
    """The rows that the pool writes of a model's versions."""
    return LifeWriter(database)


@pytest.fixture
async def serving(admin: Any, pool: LifeWriter) -> Any:
    """The declared version serves."""
    await pool.declare()
    await pool.serve("1")
    return admin
