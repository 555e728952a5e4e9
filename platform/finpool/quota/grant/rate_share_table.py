"""Queries on rate shares."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Interval, bindparam, cast, delete, func, literal, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.database.tenant_rows import delete_of
from finpool.kernel.ids import ReplicaId, TenantId
from finpool.quota.models import RateShare
from finpool.quota.periods import RATE_SHARE_SECONDS, WINDOW_SECONDS
from finpool.quota.schemas import Rate, RateKey

EXPIRY = timedelta(seconds=RATE_SHARE_SECONDS + WINDOW_SECONDS)
"""The time until an unrenewed share expires: its replica stops using it earlier, and its requests are a window old
then.
"""

WINDOW = timedelta(seconds=WINDOW_SECONDS)


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of leases and shares: one run of an inference replica, and the spool that records its spending."""

    replica_id: ReplicaId
    spool_id: str
    run_id: str


async def write_rate_share(
    session: AsyncSession, tenant_id: TenantId, holder: Holder, key: RateKey, amount: int
) -> None:
    """Insert or renew this run's share of a rate."""
    expires_at = func.clock_timestamp() + cast(literal(EXPIRY), Interval)
    names = {"tenant_id": tenant_id, "limit_id": key.limit.limit_id, "rate": key.rate.value, "run_id": holder.run_id}
    new = insert(RateShare).values(**names, replica_id=holder.replica_id, amount=amount, expires_at=expires_at)
    changed = {"amount": new.excluded.amount, "expires_at": new.excluded.expires_at}
    await session.execute(new.on_conflict_do_update(index_elements=list(names), set_=changed))


async def delete_rate_share(session: AsyncSession, tenant_id: TenantId, holder: Holder, key: RateKey) -> None:
    """Delete an unused share."""
    names = {"limit_id": key.limit.limit_id, "rate": key.rate.value, "run_id": holder.run_id}
    await session.execute(delete_of(tenant_id, RateShare).filter_by(**names))


_EXPIRE = text("""
    UPDATE rate_share SET expires_at = LEAST(expires_at, clock_timestamp() + CAST(:window AS interval))
    WHERE replica_id = :replica_id
""").bindparams(bindparam("window", type_=Interval))


async def shorten_expiry(session: AsyncSession, replica_id: ReplicaId) -> None:
    """Shorten the shares of a replica's earlier runs to one more window, for the requests that they admitted."""
    done = (col(RateShare.rate) == Rate.CONCURRENCY.value) | (col(RateShare.expires_at) < func.clock_timestamp())
    await session.execute(delete(RateShare).where(col(RateShare.replica_id) == replica_id, done))
    await session.execute(_EXPIRE, {"window": WINDOW, "replica_id": replica_id})
