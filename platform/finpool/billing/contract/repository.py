"""Queries on contracts and the pool's cost."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.contract.models import Contract, PoolCost
from finpool.kernel.database.locks import LockName, lock
from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import TenantId

_GUARANTEES = text("""
    SELECT coalesce(sum(share), 0) FROM (
        SELECT max(service_share_min_basis_points) AS share FROM contract
        WHERE tenant_id <> :tenant_id AND valid_from >= (
            SELECT coalesce(max(valid_from), :at) FROM contract AS began
            WHERE began.tenant_id = contract.tenant_id AND began.valid_from <= :at
        )
        GROUP BY tenant_id
    ) AS guaranteed
""")


async def contracts(session: AsyncSession, tenant_id: TenantId) -> Sequence[Contract]:
    """Return a tenant's contracts, ordered by `valid_from`."""
    query = rows_of(tenant_id, Contract)
    return (await session.execute(query.order_by(col(Contract.valid_from), col(Contract.version)))).scalars().all()


async def contracts_across_tenants(session: AsyncSession) -> Sequence[Contract]:
    """Return every contract that the database role may see, ordered by `valid_from`."""
    return (
        (await session.execute(select(Contract).order_by(col(Contract.valid_from), col(Contract.version))))
        .scalars()
        .all()
    )


async def contract_at(session: AsyncSession, tenant_id: TenantId, at: datetime) -> Contract | None:
    """Return the tenant's contract in force at a moment, or None."""
    query = rows_of(tenant_id, Contract).where(col(Contract.valid_from) <= at)
    newest = query.order_by(col(Contract.valid_from).desc(), col(Contract.version).desc()).limit(1)
    return (await session.execute(newest)).scalar_one_or_none()


async def last_version(session: AsyncSession, tenant_id: TenantId) -> int:
    """Return the version of the tenant's latest contract, 0 without one."""
    query = rows_of(tenant_id, Contract).with_only_columns(func.max(col(Contract.version)))
    return (await session.execute(query)).scalar_one() or 0


async def pool_cost(session: AsyncSession, month: date) -> PoolCost | None:
    """Return the latest version of the pool's cost in a month, or None."""
    query = select(PoolCost).where(col(PoolCost.month) == month).order_by(col(PoolCost.version).desc()).limit(1)
    return (await session.execute(query)).scalar_one_or_none()


async def lock_guarantees(session: AsyncSession) -> None:
    """Lock the guaranteed shares until this transaction ends, so that concurrent guarantees cannot exceed the whole."""
    await lock(session, LockName.SERVICE_GUARANTEES)


async def guarantees_of_others(session: AsyncSession, tenant_id: TenantId, at: datetime) -> int:
    """Return the sum of other tenants' guaranteed shares; each counts with its largest share from `at` on."""
    return int((await session.execute(_GUARANTEES, {"tenant_id": tenant_id, "at": at})).scalar_one())
