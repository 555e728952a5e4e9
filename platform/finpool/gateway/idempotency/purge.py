"""The deletion of expired requests; the worker's process runs it."""

from finpool.gateway.idempotency import repository
from finpool.kernel.database.database import Database

ROWS_MAX = 500
PAUSE_SECONDS = 60.0


async def purge_expired(database: Database) -> int:
    """Delete up to `ROWS_MAX` expired requests of all tenants; returns their number."""
    async with database.across_tenants() as session:
        return await repository.purge_across_tenants(session, ROWS_MAX)
