"""Postgres connections with row-level security, the second wall between tenants.

Every transaction has a signed context: one tenant, or the sector. Row-level security then also holds for a query that
forgets its tenant filter, and for SQL that got into a session. A transaction without a context sees no tenant's rows.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from finpool.kernel.database.context import ContextSigner
from finpool.kernel.database.database_url import DatabaseUrl
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import TenantId

CHANGES_CHANNEL = "finpool_changes"

_DIALECT = "postgresql+asyncpg://"

_open_transactions: ContextVar[int] = ContextVar("open_transactions", default=0)
"""The transactions that the current task has open, each with a connection of a pool."""


def require_no_transaction(work: str) -> None:
    """Raise RuntimeError if the current task holds a connection: others would wait for it while this one computes."""
    if _open_transactions.get():
        raise RuntimeError(f"{work} must not begin before the transaction has ended: give its connection back first")


@contextmanager
def _counted() -> Iterator[None]:
    _open_transactions.set(_open_transactions.get() + 1)
    try:
        yield
    finally:
        _open_transactions.set(_open_transactions.get() - 1)


async def connect(url: DatabaseUrl, seconds_max: float | None = None) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection without a pool; it fails after the smaller of the URL's own timeout and `seconds_max`.

    Raises `ConfigurationError` if the environment (`PG...`) or a file that it names is malformed.
    """
    seconds = min((each for each in (url.connect_seconds_max, seconds_max) if each is not None), default=None)
    try:
        return await asyncpg.connect(**{**url.arguments(), "timeout": seconds})
    except TimeoutError:
        raise TimeoutError(f"the database gave no connection within {seconds:g} seconds") from None
    except ValueError as error:
        raise ConfigurationError(
            "the database's address is malformed: look at the PG... variables, and at the files that the URL names"
        ) from error


class Database:
    """The connection pool of one database role."""

    def __init__(self, url: str, connections_max: int) -> None:
        self._url = DatabaseUrl.parse(url)
        self._signer = ContextSigner(self._url)
        self.engine: AsyncEngine = create_async_engine(
            _DIALECT, async_creator=self.connect, pool_size=connections_max, max_overflow=0, pool_pre_ping=True
        )
        # A session that has ended stays ended: a later query would open a transaction without a scope.
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False, close_resets_only=False)

    async def connect(self, seconds_max: float | None = None) -> "asyncpg.Connection[asyncpg.Record]":
        """Open a connection outside of the pool, as the function `connect` does."""
        return await connect(self._url, seconds_max)

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self.engine.dispose()

    @asynccontextmanager
    async def for_tenant(self, tenant_id: TenantId) -> AsyncIterator[AsyncSession]:
        """Open a transaction that sees one tenant's rows; it commits at the end, and rolls back on an exception."""
        with _counted():
            async with self._sessions() as session, session.begin():
                await self._signer.enter(session, tenant_id)
                yield session

    @asynccontextmanager
    async def across_tenants(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction over all tenants; its rows are visible only to roles that the row policies name."""
        with _counted():
            async with self._sessions() as session, session.begin():
                await self._signer.enter(session, None)
                yield session

    @asynccontextmanager
    async def one_moment_across_tenants(self) -> AsyncIterator[AsyncSession]:
        """Open a read-only transaction over all tenants with one snapshot (REPEATABLE READ)."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with _counted():
            async with self.engine.connect() as connection:
                snapshot = await connection.execution_options(**options)
                async with AsyncSession(snapshot, expire_on_commit=False) as session, session.begin():
                    await self._signer.enter(session, None)
                    yield session

    async def reachable(self) -> bool:
        """Tell whether the database answers a query."""
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except Exception:  # Every failure means the same: not reachable.
            return False
        return True
