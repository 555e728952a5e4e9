"""The operators' door over a real database, and a bank's door beside it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from finpool.apps.operator import create_app
from finpool.identity.platform_tokens import issue_platform_token
from finpool.kernel.actor import Role
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings

Client = httpx2.AsyncClient


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
