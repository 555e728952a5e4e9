"""Open leases, and the end of those whose spool is lost: charged in full or released, as an operator decides."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import to_micros_ceiling
from finpool.quota import postings
from finpool.quota.lease_schemas import ClosedSpool, LeaseOutcome, LeaseView
from finpool.quota.models import Budget, Lease
from finpool.quota.schemas import Scope


async def open_leases(session: AsyncSession, tenant_id: TenantId | None) -> list[LeaseView]:
    """Return the open leases of one tenant, or of all, the oldest first."""
    query = select(Lease).where(col(Lease.closed_at).is_(None))
    if tenant_id is not None:
        query = query.where(col(Lease.tenant_id) == tenant_id)
    rows = (await session.execute(query.order_by(col(Lease.opened_at), col(Lease.lease_id)))).scalars()
    return [
        LeaseView(
            tenant_id=TenantId(row.tenant_id),
            lease_id=LeaseId(row.lease_id),
            budget_id=row.budget_id,
            replica_id=row.replica_id,
            spool_id=row.spool_id,
            granted_micros=to_micros_ceiling(row.granted_picos),
            held_micros=to_micros_ceiling(_held(row)),
            opened_at=row.opened_at,
        )
        for row in rows
    ]


async def close_spool(
    session: AsyncSession, replica_id: str, spool_id: str, outcome: LeaseOutcome, reference: str
) -> ClosedSpool:
    """Close every open lease of a spool; `charged` posts what they held, `released` gives it back to the budgets.

    A request is paid out of all leases of its tenant's budgets at once, so what was spent and never recorded is at
    most what the smallest of these held: that much is charged, and no more of any lease than it held.
    """
    query = select(Lease).filter_by(replica_id=replica_id, spool_id=spool_id).where(col(Lease.closed_at).is_(None))
    tenants = {TenantId(each.tenant_id) for each in (await session.execute(query)).scalars()}
    await postings.lock_accounts(session, tenants)
    rows = list((await session.execute(query.execution_options(populate_existing=True))).scalars())
    charged: dict[TenantId, int] = {}
    for tenant_id in sorted(tenants):
        mine = [row for row in rows if row.tenant_id == tenant_id]
        if outcome is LeaseOutcome.CHARGED and mine:
            amount = min(map(_held, await _of_whole_tenant(session, tenant_id, mine) or mine))
            parts = {LeaseId(row.lease_id): min(_held(row), amount) for row in mine}
            await postings.charge(session, tenant_id, parts, amount, reference)
            charged[tenant_id] = amount
        await postings.close_leases(session, [(tenant_id, LeaseId(row.lease_id)) for row in mine], outcome)
    return ClosedSpool(leases=len(rows), charged_picos=charged)


async def _of_whole_tenant(session: AsyncSession, tenant_id: TenantId, leases: Sequence[Lease]) -> list[Lease]:
    """Return those of the leases that are of a budget of the whole tenant, which pays for every request."""
    query = select(col(Budget.budget_id)).where(
        col(Budget.tenant_id) == tenant_id, col(Budget.scope) == Scope.TENANT.value
    )
    whole = set((await session.execute(query)).scalars())
    return [lease for lease in leases if lease.budget_id in whole]


def _held(lease: Lease) -> int:
    return max(0, lease.granted_picos - lease.spent_picos)
