"""Bare connections of a login role with a signed context, as a door has it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

import asyncpg

from finpool.kernel.database.context import ContextSigner
from finpool.kernel.database.database_url import DatabaseUrl


async def signature_for(connection: asyncpg.Connection, url: str, context: str) -> str:
    """Return the signature that holds for this connection's transaction, made with the password of `url`."""
    ((role, pid, began_micros),) = await connection.fetch(
        "SELECT session_user::text, pg_backend_pid(), (extract(epoch FROM now()) * 1000000)::bigint"
    )
    return ContextSigner(DatabaseUrl.parse(url)).signature(role, pid, began_micros, context)


async def claim(connection: asyncpg.Connection, tenant_id: str, scope: str, signature: str) -> None:
    """Set all that makes a context, until the transaction ends."""
    values = {"tenant_id": tenant_id, "scope": scope, "signature": signature}
    for name, value in values.items():
        await connection.execute("SELECT set_config($1, $2, true)", f"finpool.{name}", value)


@asynccontextmanager
async def acting(
    connection: asyncpg.Connection, url: str, tenant_id: str | None = None, **options: Any
) -> AsyncIterator[None]:
    """Open a transaction for one tenant, or across tenants; `options` are those of asyncpg's `transaction`."""
    async with connection.transaction(**options):
        context = f"tenant:{tenant_id}" if tenant_id else "sector"
        signature = await signature_for(connection, url, context)
        await claim(connection, tenant_id or "", "" if tenant_id else "sector", signature)
        yield


class SignedConnection:
    """A connection of a login role that acts for one tenant, or across tenants, in every transaction."""

    def __init__(self, connection: asyncpg.Connection, url: str, tenant_id: str | None) -> None:
        self._connection = connection
        self._url = url
        self._tenant_id = tenant_id

    @classmethod
    async def opened(cls, url: str, tenant_id: str | None = None) -> Self:
        """Connect as the role of the URL."""
        return cls(await asyncpg.connect(url), url, tenant_id)

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()

    def transaction(self, **options: Any) -> AbstractAsyncContextManager[None]:
        """Open a transaction, or a savepoint within one."""
        return acting(self._connection, self._url, self._tenant_id, **options)

    async def execute(self, query: str, *values: Any) -> None:
        """Run one statement."""
        async with self.transaction():
            await self._connection.execute(query, *values)

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Return the rows of a query."""
        async with self.transaction():
            return list(await self._connection.fetch(query, *values))


async def sector_rows(url: str, query: str) -> list[asyncpg.Record]:
    """Return what the role of `url` sees across tenants."""
    connection = await SignedConnection.opened(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()
