"""Open leases, and the closing of a lost spool's leases: charged in full or released, as an operator decides."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.database.tenant_rows import rows_of
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import to_micros_ceiling
from finpool.quota.account import postings
from finpool.quota.grant import heartbeat as runs
from finpool.quota.lease.schemas import ClosedSpool, LeaseView
from finpool.quota.models import Budget, Lease
from finpool.quota.schemas import LeaseOutcome, Scope


async def open_leases(session: AsyncSession, tenant_id: TenantId | None) -> list[LeaseView]:
    """Return the open leases of one tenant, or of all for None, the oldest first."""
    every = select(Lease) if tenant_id is None else rows_of(tenant_id, Lease)
    query = every.where(col(Lease.closed_at).is_(None))
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


async def is_served_with(session: AsyncSession, spool_id: str) -> bool:
    """Tell whether a replica with this spool wrote a heartbeat lately."""
    return await runs.serves_with(session, spool_id)


async def close_spool(
    session: AsyncSession, replica_id: str, spool_id: str, outcome: LeaseOutcome, reference: str
) -> ClosedSpool:
    """Close every open lease of a spool; `charged` posts the held amounts, `released` returns them to the budgets.

    Each request is paid from all leases of its tenant's budgets at once. So the unrecorded spending is at most the
    smallest held amount of these budgets. That amount is charged, and of each lease at most its held amount.
    """
    query = select(Lease).filter_by(replica_id=replica_id, spool_id=spool_id).where(col(Lease.closed_at).is_(None))
    tenants = {TenantId(each.tenant_id) for each in (await session.execute(query)).scalars()}
    await postings.lock_accounts(session, tenants)
    rows = list((await session.execute(query.execution_options(populate_existing=True))).scalars())
    charged: dict[TenantId, int] = {}
    for tenant_id in sorted(tenants):
        mine = [row for row in rows if row.tenant_id == tenant_id]
        if outcome is LeaseOutcome.CHARGED and mine:
            amount, parts = await _due(session, tenant_id, mine)
            await postings.charge(session, tenant_id, parts, amount, reference)
            charged[tenant_id] = amount
        await postings.close_leases(session, [(tenant_id, LeaseId(row.lease_id)) for row in mine], outcome)
    return ClosedSpool(leases=len(rows), charged_picos=charged)


async def _due(session: AsyncSession, tenant_id: TenantId, leases: Sequence[Lease]) -> tuple[int, dict[LeaseId, int]]:
    """Return the largest unrecorded spending, and each lease's part of it.

    One budget may have had several leases in sequence; the sum of their held amounts may be spent.
    """
    ids = {lease.budget_id for lease in leases}
    query = rows_of(tenant_id, Budget).where(col(Budget.budget_id).in_(ids))
    budgets = {row.budget_id: row for row in (await session.execute(query)).scalars()}
    of_budget: dict[tuple[str, str, str, str], list[Lease]] = {}
    for lease in leases:
        row = budgets[lease.budget_id]
        of_budget.setdefault((row.set_by, row.scope, row.scope_id, row.period), []).append(lease)
    whole = [mine for key, mine in of_budget.items() if key[1] == Scope.TENANT.value]
    amount = min(sum(map(_held, mine)) for mine in whole or of_budget.values())
    parts: dict[LeaseId, int] = {}
    for mine in of_budget.values():
        left = amount
        for lease in mine:
            parts[LeaseId(lease.lease_id)] = part = min(_held(lease), left)
            left -= part
    return amount, parts


def _held(lease: Lease) -> int:
    return max(0, lease.granted_picos - lease.spent_picos)
