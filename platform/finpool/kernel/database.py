"""Postgres connections with row-level security, the second wall between tenants.

Every transaction sets its scope: one tenant, or the sector. Row-level security then also holds for a query that forgets
its tenant filter. A transaction without a scope sees no tenant's rows.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from finpool.kernel.ids import TenantId

CHANGES_CHANNEL = "finpool_changes"

_SET_TENANT = text("SELECT set_config('finpool.tenant_id', :tenant_id, true)")
_SET_SECTOR = text("SELECT set_config('finpool.scope', 'sector', true)")


def driver_url(url: str) -> str:
    """Return a `postgresql://` URL with the asynchronous driver named in it."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


class Database:
    """The connection pool of one database role."""

    def __init__(self, url: str, connections_max: int) -> None:
        self.url = url
        self.engine: AsyncEngine = create_async_engine(
            driver_url(url), pool_size=connections_max, max_overflow=0, pool_pre_ping=True
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def for_tenant(self, tenant_id: TenantId) -> AsyncIterator[AsyncSession]:
        """Open a transaction that sees one tenant's rows; it commits at the end, and rolls back on an exception."""
        async with self._sessions() as session, session.begin():
            await session.execute(_SET_TENANT, {"tenant_id": tenant_id})
            yield session

    @asynccontextmanager
    async def across_tenants(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction over all tenants; its rows are visible only to roles that the row policies name."""
        async with self._sessions() as session, session.begin():
            await session.execute(_SET_SECTOR)
            yield session

    async def reachable(self) -> bool:
        """Tell whether the database answers a query."""
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except Exception:  # Every failure means the same: not reachable.
            return False
        return True
