"""Every door behind a port of its own, over one database that is seeded with a bank of every kind of row."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uvicorn
from served_app import served

from finpool.apps import operator, regulator
from finpool.apps.http_limits import http_protocol
from finpool.identity.platform_tokens import issue_platform_token
from finpool.kernel.actor import Role
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings


@dataclass(frozen=True)
class ServedDoor:
    """Where a door listens, and the credential of its caller who may do the most."""

    url: str
    credential: str


@asynccontextmanager
async def platform_doors(settings: Settings, owner: Database) -> AsyncIterator[dict[str, ServedDoor]]:
    """Serve the doors of operators and regulators, each on a free port."""
    apps = {"operator": operator.create_app(settings), "regulator": regulator.create_app(settings)}
    roles = {"operator": Role.OPERATOR_ADMIN, "regulator": Role.REGULATOR_EXAMINER}
    pepper = settings.secret("key_pepper")
    found = {}
    async with AsyncExitStack() as stack:
        for name, app in apps.items():
            async with owner.across_tenants() as session:
                _, secret = await issue_platform_token(session, roles[name], "test", pepper=pepper)
            bound = socket.create_server(("127.0.0.1", 0))
            config = uvicorn.Config(app, log_config=None, ws="none", http=http_protocol(settings))
            await stack.enter_async_context(served(config, [bound]))
            found[name] = ServedDoor(f"http://127.0.0.1:{bound.getsockname()[1]}", secret)
        yield found
