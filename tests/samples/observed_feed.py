"""A door's change feed that says when it has taken in a change."""

import asyncio
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.database.changes import ChangeFeed, Snapshot
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId


class HeardChanges:
    """The last snapshot of a feed: a change that reaches it has reached all others."""

    def __init__(self) -> None:
        self._heard: set[TenantId | None] = set()
        self.full_loads = 0
        self._is_heard = asyncio.Condition()

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Remember whose rows were read; None stands for all."""
        async with self._is_heard:
            self._heard.add(tenant_id)
            self.full_loads += tenant_id is None
            self._is_heard.notify_all()

    async def of(self, tenant_id: TenantId, full_loads: int) -> None:
        """Wait until this tenant's rows were read, alone or in one more full load than `full_loads`.

        The feed reads all rows once if a change of every tenant comes together with others.
        """
        async with self._is_heard:
            await self._is_heard.wait_for(lambda: tenant_id in self._heard or self.full_loads > full_loads)


class ObservedFeed(ChangeFeed):
    """The product's feed with one snapshot more."""

    def __init__(self, database: Database, snapshots: Sequence[Snapshot], age_max_seconds: float) -> None:
        self.heard = HeardChanges()
        super().__init__(database, [*snapshots, self.heard], age_max_seconds)
