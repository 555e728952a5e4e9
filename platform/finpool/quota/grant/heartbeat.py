"""Heartbeats of running replicas, by the database's clock."""

import asyncio
import contextlib
from datetime import timedelta

from asyncpg import PostgresError
from sqlalchemy import Interval, cast, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.database import Database
from finpool.quota.grant.rate_share_table import Holder
from finpool.quota.models import ReplicaRun

SHOWN_EVERY_SECONDS = 10.0
SHOWN_SECONDS_MAX = 5.0
ALIVE_FOR = timedelta(minutes=2)


class Heartbeat:
    """The heartbeat of one run of a replica."""

    def __init__(self, database: Database, holder: Holder) -> None:
        self._database = database
        self._holder = holder
        self._shown_at = monotonic_seconds()

    async def light(self, session: AsyncSession) -> None:
        """Write this run's heartbeat and delete the replica's earlier runs: the spool's lock proves that none of them
        lives.
        """
        mine = (col(ReplicaRun.replica_id) == self._holder.replica_id) & (col(ReplicaRun.run_id) != self._holder.run_id)
        await session.execute(delete(ReplicaRun).where(mine))
        await self._write(session)

    async def show(self) -> None:
        """Write the heartbeat again every `SHOWN_EVERY_SECONDS`; on a failure the next call retries."""
        now = monotonic_seconds()
        if now < self._shown_at + SHOWN_EVERY_SECONDS:
            return
        self._shown_at = now
        with contextlib.suppress(SQLAlchemyError, PostgresError, OSError, TimeoutError):
            async with asyncio.timeout(SHOWN_SECONDS_MAX), self._database.across_tenants() as session:
                await self._write(session)

    async def put_out(self) -> None:
        """Delete this run's heartbeat."""
        async with self._database.across_tenants() as session:
            await session.execute(delete(ReplicaRun).where(col(ReplicaRun.run_id) == self._holder.run_id))

    async def _write(self, session: AsyncSession) -> None:
        holder = self._holder
        names = {"run_id": holder.run_id, "replica_id": holder.replica_id, "spool_id": holder.spool_id}
        new = insert(ReplicaRun).values(**names, seen_at=func.clock_timestamp())
        shown = new.on_conflict_do_update(index_elements=["run_id"], set_={"seen_at": new.excluded.seen_at})
        await session.execute(shown)


async def serves_with(session: AsyncSession, spool_id: str) -> bool:
    """Tell whether a run with this spool wrote a heartbeat within `ALIVE_FOR`."""
    since = func.clock_timestamp() - cast(literal(ALIVE_FOR), Interval)
    query = select(col(ReplicaRun.run_id)).where(col(ReplicaRun.spool_id) == spool_id, col(ReplicaRun.seen_at) > since)
    return (await session.execute(query)).first() is not None
