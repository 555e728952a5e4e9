"""Accounts and leases in Postgres."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.clock import now
from finpool.kernel.ids import LeaseId, ReplicaId, TenantId
from finpool.kernel.money import PicosColumn, from_micros
from finpool.quota.models import Account, Lease
from finpool.quota.schemas import Limits


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds leases: an inference replica, and the spool that records what it spends."""

    replica_id: ReplicaId
    spool_id: str


async def set_limits(session: AsyncSession, tenant_id: TenantId, limits: Limits) -> None:
    """Create or change a tenant's account; what is posted and pending stays."""
    values = {**limits.model_dump(), "updated_at": now()}
    statement = insert(Account).values(tenant_id=tenant_id, posted_picos=0, pending_picos=0, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["tenant_id"], set_=values))


async def account(session: AsyncSession, tenant_id: TenantId) -> Account | None:
    """Return one tenant's account."""
    found: Account | None = (
        await session.execute(select(Account).where(Account.tenant_id == tenant_id))  # type: ignore[arg-type]
    ).scalar_one_or_none()
    return found


async def accounts(session: AsyncSession, tenant_id: TenantId | None) -> list[Account]:
    """Return one tenant's account, or all."""
    query = select(Account)
    if tenant_id is not None:
        query = query.where(Account.tenant_id == tenant_id)  # type: ignore[arg-type]
    return list((await session.execute(query)).scalars())


async def rest_picos(session: AsyncSession, tenant_id: TenantId) -> int:
    """Lock the account and return what is neither posted nor pending; 0 without an account."""
    query = select(Account).where(Account.tenant_id == tenant_id).with_for_update()  # type: ignore[arg-type]
    row: Account | None = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        return 0
    return max(0, from_micros(row.budget_micros) - row.posted_picos - row.pending_picos)


async def lock_accounts(session: AsyncSession, tenant_ids: Collection[TenantId]) -> None:
    """Lock the accounts of `tenant_ids` in the order of their ids, until the transaction ends."""
    mine = Account.tenant_id.in_(tenant_ids)  # type: ignore[attr-defined]
    await session.execute(select(Account.tenant_id).where(mine).order_by(Account.tenant_id).with_for_update())  # type: ignore[call-overload]


async def grant(
    session: AsyncSession, tenant_id: TenantId, lease_id: LeaseId, holder: Holder, amount_picos: int
) -> None:
    """Move `amount_picos` from the account to the lease, opening it if it is new; the account must be locked."""
    lease = insert(Lease).values(
        tenant_id=tenant_id,
        lease_id=lease_id,
        replica_id=holder.replica_id,
        spool_id=holder.spool_id,
        granted_picos=amount_picos,
        spent_picos=0,
        opened_at=now(),
    )
    grown = Lease.granted_picos + lease.excluded.granted_picos
    await session.execute(
        lease.on_conflict_do_update(index_elements=["tenant_id", "lease_id"], set_={"granted_picos": grown})
    )
    await session.execute(
        update(Account)
        .where(Account.tenant_id == tenant_id)  # type: ignore[arg-type]
        .values(pending_picos=Account.pending_picos + amount_picos)
    )


async def open_leases(session: AsyncSession, replica_id: ReplicaId) -> list[Lease]:
    """Return every lease of a replica that is not closed, whichever spool records it."""
    query = select(Lease).where(Lease.replica_id == replica_id, Lease.closed_at.is_(None))  # type: ignore[arg-type,union-attr]
    return list((await session.execute(query)).scalars())


async def other_open_leases(session: AsyncSession, tenant_id: TenantId, holder: Holder, except_id: LeaseId) -> int:
    """Count a tenant's leases that this replica holds besides one: they are on their way back."""
    query = select(func.count()).where(
        Lease.tenant_id == tenant_id,  # type: ignore[arg-type]
        Lease.replica_id == holder.replica_id,  # type: ignore[arg-type]
        Lease.spool_id == holder.spool_id,  # type: ignore[arg-type]
        Lease.lease_id != except_id,  # type: ignore[arg-type]
        Lease.closed_at.is_(None),  # type: ignore[union-attr]
    )
    return int((await session.execute(query)).scalar_one())


_SPEND = text("""
    WITH before AS (
        SELECT tenant_id, lease_id, GREATEST(granted_picos - spent_picos, 0) AS held
        FROM lease WHERE tenant_id = :tenant_id AND lease_id = :lease_id FOR UPDATE
    ), spent AS (
        UPDATE lease SET spent_picos = lease.spent_picos + :amount
        FROM before WHERE lease.tenant_id = before.tenant_id AND lease.lease_id = before.lease_id
        RETURNING LEAST(before.held, :amount) AS covered
    )
    UPDATE account
    SET posted_picos = posted_picos + :amount, pending_picos = pending_picos - spent.covered
    FROM spent WHERE account.tenant_id = :tenant_id
    RETURNING 1
""").bindparams(bindparam("amount", type_=PicosColumn))

_CLOSE = text("""
    WITH closed AS (
        UPDATE lease SET closed_at = :closed_at
        WHERE tenant_id = :tenant_id AND lease_id = :lease_id AND closed_at IS NULL
        RETURNING GREATEST(granted_picos - spent_picos, 0) AS held
    )
    UPDATE account SET pending_picos = pending_picos - closed.held
    FROM closed WHERE account.tenant_id = :tenant_id
""")


async def spend(session: AsyncSession, tenant_id: TenantId, lease_id: LeaseId, amount_picos: int) -> bool:
    """Post `amount_picos` out of a lease; False if there is no such lease.

    An amount above what the lease still holds is posted in full all the same: money is never cut to fit.
    """
    values = {"tenant_id": tenant_id, "lease_id": lease_id, "amount": amount_picos}
    return (await session.execute(_SPEND, values)).first() is not None


async def close(session: AsyncSession, tenant_id: TenantId, lease_id: LeaseId) -> None:
    """Close a lease and give what it still holds back to the account; closing it again does nothing."""
    await session.execute(_CLOSE, {"tenant_id": tenant_id, "lease_id": lease_id, "closed_at": now()})
