"""The operators' door over a real database, and a bank's door beside it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from finpool.apps.openapi import doors
from finpool.apps.operator import create_app
from finpool.identity.platform_tokens import issue_platform_token
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ProjectId, TenantId
from finpool.kernel.settings import Settings

Client = httpx2.AsyncClient


class OpenDoor:
    """A gatekeeper that lets everybody in."""

    async def authenticate(self, credential: str) -> Actor:
        """Return an actor."""
        return Actor(Audience.TENANT, credential, Role.TENANT_OWNER, TenantId("bank-a"), ProjectId("credit"))

    def authorize(self, actor: Actor, permission: str) -> None:
        """Refuse nobody."""


@pytest.fixture(scope="module")
def apps() -> dict[str, FastAPI]:
    """Return the apps of all four doors, open to everybody; each answers for itself, past the banks' dispatcher."""
    found = doors()
    for app in found.values():
        app.state.gatekeeper = OpenDoor()
    return found


@pytest.fixture
async def stranger(settings: Settings) -> AsyncIterator[Client]:
    """Call the operators' door without a credential."""
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), Client(transport=transport, base_url="http://operator") as client:
        yield client


@pytest.fixture
async def admin(stranger: Client, settings: Settings, database: Callable[[str], Database]) -> Any:
    """Return the header of an administrator."""
    async with database("owner").across_tenants() as session:
        pepper = settings.secret("key_pepper")
        _, secret = await issue_platform_token(session, Role.OPERATOR_ADMIN, "a person", pepper=pepper)
    return {"authorization": f"Bearer {secret}", "content-type": "application/json"}
