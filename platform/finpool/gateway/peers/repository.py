"""Queries on gateway standings. One gateway syncs at a time, so that no slot is taken twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Interval, bindparam, cast, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.gateway.peers.models import GatewaySlots, GatewayStandingRow
from finpool.gateway.peers.schemas import GatewayStanding
from finpool.gateway.queue.standing import Standing
from finpool.kernel.database.locks import LockName, lock
from finpool.kernel.ids import ReplicaId, TenantId

STALE = timedelta(minutes=1)
"""The age at which any gateway deletes the rows of a silent run."""

_HOLD_AT_MOST = text("SELECT set_config('idle_in_transaction_session_timeout', :milliseconds, true)")
_DELETE_ORPHANS = text("DELETE FROM gateway_share WHERE run_id NOT IN (SELECT run_id FROM gateway_slots)")
_DELETE_ENDED = text("""
    DELETE FROM gateway_slots
    WHERE seen_at < clock_timestamp() - :age OR (replica_id = :replica_id AND run_id <> :run_id)
""").bindparams(bindparam("age", type_=Interval))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a replica's gateway; only the latest run of a replica counts."""

    replica_id: ReplicaId
    run_id: str


def _interval(age: timedelta) -> ColumnElement[timedelta]:
    return cast(literal(age), Interval)


async def lock_standings(session: AsyncSession, hold_seconds_max: float) -> None:
    """Wait for the sync lock; Postgres ends the lock of a gateway that stays silent for `hold_seconds_max`."""
    await session.execute(_HOLD_AT_MOST, {"milliseconds": str(round(1000 * hold_seconds_max))})
    await lock(session, LockName.GATEWAY_SHARES)


async def live_standings(
    session: AsyncSession, run: Run, live_seconds: float, *, idle_too: bool
) -> dict[str, dict[str, GatewayStanding]]:
    """Return the standings of other replicas' runs by engine, for runs with a sync within `live_seconds`.

    Tenants that were idle for twice that time are left out unless `idle_too`, because a caller that syncs in time knows
    their last rows.
    """
    age, now = timedelta(seconds=live_seconds), func.clock_timestamp()
    slots_query = select(col(GatewaySlots.engine), col(GatewaySlots.run_id), col(GatewaySlots.slots)).where(
        col(GatewaySlots.replica_id) != run.replica_id, col(GatewaySlots.seen_at) > now - _interval(age)
    )
    slots = {(engine, other): count for engine, other, count in await session.execute(slots_query)}
    tenants: dict[tuple[str, str], dict[TenantId, Standing]] = {each: {} for each in slots}
    if slots:
        requests = (
            col(GatewayStandingRow.waiting) + col(GatewayStandingRow.batch_waiting) + col(GatewayStandingRow.in_flight)
        )
        rows_query = select(
            col(GatewayStandingRow.engine),
            col(GatewayStandingRow.run_id),
            col(GatewayStandingRow.tenant_id),
            col(GatewayStandingRow.charged),
            col(GatewayStandingRow.waiting),
            col(GatewayStandingRow.batch_waiting),
            col(GatewayStandingRow.in_flight),
        ).where(
            col(GatewayStandingRow.run_id).in_({other for _, other in slots}),
            literal(idle_too) | (requests > 0) | (col(GatewayStandingRow.changed_at) > now - _interval(2 * age)),
        )
        for engine, other, tenant_id, *standing in await session.execute(rows_query):
            if (engine, other) in tenants:
                tenants[engine, other][TenantId(tenant_id)] = Standing(*standing)
    standings: dict[str, dict[str, GatewayStanding]] = {}
    for (engine, other), count in slots.items():
        standings.setdefault(engine, {})[other] = GatewayStanding(count, tenants[engine, other])
    return standings


async def write_standings(
    session: AsyncSession, run: Run, reported: Mapping[str, GatewayStanding], before: Mapping[str, GatewayStanding]
) -> None:
    """Write this run's slots and heartbeat, and each standing that differs from the one `before`."""
    now = func.clock_timestamp()
    slots = [
        {
            "run_id": run.run_id,
            "engine": engine,
            "replica_id": run.replica_id,
            "slots": standing.slots,
            "seen_at": now,
        }
        for engine, standing in reported.items()
    ]
    if slots:
        new = insert(GatewaySlots).values(slots)
        changed = {"slots": new.excluded.slots, "seen_at": new.excluded.seen_at}
        await session.execute(new.on_conflict_do_update(index_elements=["run_id", "engine"], set_=changed))
    rows = [
        {
            "tenant_id": tenant_id,
            "run_id": run.run_id,
            "engine": engine,
            "charged": each.charged,
            "waiting": each.waiting,
            "batch_waiting": each.batch_waiting,
            "in_flight": each.in_flight,
            "changed_at": now,
        }
        for engine, standing in reported.items()
        for tenant_id, each in standing.tenants.items()
        if engine not in before or before[engine].tenants.get(tenant_id) != each
    ]
    if rows:
        row = insert(GatewayStandingRow).values(rows)
        names = ("charged", "waiting", "batch_waiting", "in_flight", "changed_at")
        await session.execute(
            row.on_conflict_do_update(
                index_elements=["tenant_id", "run_id", "engine"], set_={name: row.excluded[name] for name in names}
            )
        )


async def delete_ended(session: AsyncSession, run: Run) -> None:
    """Delete the rows of silent runs, and those of this replica's earlier runs at once."""
    await session.execute(_DELETE_ENDED, {"age": STALE, "replica_id": run.replica_id, "run_id": run.run_id})
    await session.execute(_DELETE_ORPHANS)


async def delete_run(session: AsyncSession, run: Run) -> None:
    """Delete the rows of an ending run; its slots are free for others at once."""
    await session.execute(delete(GatewaySlots).where(col(GatewaySlots.run_id) == run.run_id))
    await session.execute(delete(GatewayStandingRow).where(col(GatewayStandingRow.run_id) == run.run_id))
