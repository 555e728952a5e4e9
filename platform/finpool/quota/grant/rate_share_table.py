"""Queries on rate shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Interval, bindparam, delete, func, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

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


@dataclass(frozen=True, slots=True)
class RateClaim:
    """A tenant's rate and the amount of it that a run claims; 0 gives its rate share back."""

    tenant_id: TenantId
    key: RateKey
    amount: int


_WRITE_ALL = text("""
    INSERT INTO rate_share (tenant_id, limit_id, rate, run_id, replica_id, amount, expires_at)
    SELECT tenant_id, limit_id, rate, :run_id, :replica_id, amount, clock_timestamp() + CAST(:expiry AS interval)
    FROM unnest(
        CAST(:tenant_ids AS text[]), CAST(:limit_ids AS text[]), CAST(:rates AS text[]), CAST(:amounts AS bigint[])
    ) AS claimed (tenant_id, limit_id, rate, amount)
    ON CONFLICT (tenant_id, limit_id, rate, run_id)
    DO UPDATE SET amount = excluded.amount, expires_at = excluded.expires_at
""").bindparams(bindparam("expiry", type_=Interval))

_DELETE_ALL = text("""
    DELETE FROM rate_share USING unnest(
        CAST(:tenant_ids AS text[]), CAST(:limit_ids AS text[]), CAST(:rates AS text[])
    ) AS unused (tenant_id, limit_id, rate)
    WHERE rate_share.tenant_id = unused.tenant_id AND rate_share.limit_id = unused.limit_id
    AND rate_share.rate = unused.rate AND rate_share.run_id = :run_id
""")


async def write_claims(session: AsyncSession, holder: Holder, claims: Sequence[RateClaim]) -> None:
    """Write this run's rate shares by two statements; those of several tenants need a transaction across tenants."""
    run = {"run_id": holder.run_id}
    if claimed := [each for each in claims if each.amount]:
        values = {**_columns(claimed), "amounts": [each.amount for each in claimed]}
        await session.execute(_WRITE_ALL, {**values, **run, "replica_id": holder.replica_id, "expiry": EXPIRY})
    if unused := [each for each in claims if not each.amount]:
        await session.execute(_DELETE_ALL, {**_columns(unused), **run})


def _columns(claims: Sequence[RateClaim]) -> dict[str, list[str]]:
    return {
        "tenant_ids": [each.tenant_id for each in claims],
        "limit_ids": [each.key.limit.limit_id for each in claims],
        "rates": [each.key.rate.value for each in claims],
    }


_EXPIRE = text("""
    UPDATE rate_share SET expires_at = LEAST(expires_at, clock_timestamp() + CAST(:window AS interval))
    WHERE replica_id = :replica_id
""").bindparams(bindparam("window", type_=Interval))


async def shorten_expiry(session: AsyncSession, replica_id: ReplicaId) -> None:
    """Shorten the shares of a replica's earlier runs to one more window, for the requests that they admitted."""
    done = (col(RateShare.rate) == Rate.CONCURRENCY.value) | (col(RateShare.expires_at) < func.clock_timestamp())
    await session.execute(delete(RateShare).where(col(RateShare.replica_id) == replica_id, done))
    await session.execute(_EXPIRE, {"window": WINDOW, "replica_id": replica_id})
