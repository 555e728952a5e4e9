"""Posting to accounts, budgets and leases, with the ledger's transfer in the same transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import now
from finpool.kernel.database.tenant_rows import rows_of, update_of
from finpool.kernel.ids import LeaseId, TenantId
from finpool.quota.ledger import service as ledger
from finpool.quota.ledger.schemas import Book, TransferKind, available, leased, spent
from finpool.quota.models import Account, Budget, Lease
from finpool.quota.schemas import LeaseOutcome


@dataclass(frozen=True, slots=True)
class Spent:
    """The result of one posting to one lease, with its budget. Amounts are in picos.

    `covered` came from the amount that the lease held, the rest directly from the budget.
    """

    tenant_id: TenantId
    lease_id: LeaseId
    budget_id: str
    amount: int
    covered: int


async def open_account(session: AsyncSession, tenant_id: TenantId) -> None:
    """Insert an account for the tenant unless it has one."""
    new = insert(Account).values(tenant_id=tenant_id, updated_at=now())
    await session.execute(new.on_conflict_do_nothing())


async def lock_accounts(session: AsyncSession, tenant_ids: Collection[TenantId]) -> None:
    """Lock accounts in the order of their ids until the transaction ends."""
    mine = col(Account.tenant_id).in_(tenant_ids)
    await session.execute(select(col(Account.tenant_id)).where(mine).order_by(Account.tenant_id).with_for_update())


_NUMBER = text("""
    UPDATE account SET usage_seq = usage_seq + taken.count
    FROM unnest(CAST(:tenants AS text[]), CAST(:counts AS bigint[])) AS taken (tenant_id, count)
    WHERE account.tenant_id = taken.tenant_id
    RETURNING account.tenant_id, account.usage_seq - taken.count + 1 AS first
""")


async def number_usage(session: AsyncSession, counts: Mapping[TenantId, int]) -> dict[TenantId, int]:
    """Take the next usage numbers of locked accounts and return the first of each tenant.

    Raises `LookupError` for a tenant without an account.
    """
    rows = await session.execute(_NUMBER, {"tenants": list(counts), "counts": list(counts.values())})
    found = {TenantId(row.tenant_id): int(row.first) for row in rows}
    if missing := counts.keys() - found.keys():
        raise LookupError(f"there is no account of {', '.join(sorted(missing))} to record usage of")
    return found


_SPEND = text("""
    WITH due AS (
        SELECT * FROM unnest(CAST(:tenants AS text[]), CAST(:leases AS text[]), CAST(:amounts AS numeric[]))
            AS due (tenant_id, lease_id, amount)
    ), spent AS (
        UPDATE lease SET spent_picos = lease.spent_picos + due.amount
        FROM due WHERE lease.tenant_id = due.tenant_id AND lease.lease_id = due.lease_id
        RETURNING lease.tenant_id, lease.lease_id, lease.budget_id, due.amount,
            CASE WHEN lease.closed_at IS NULL
                THEN LEAST(GREATEST(lease.granted_picos - (lease.spent_picos - due.amount), 0), due.amount)
                ELSE 0 END AS covered
    ), posted AS (
        UPDATE budget SET posted_picos = budget.posted_picos + total.amount,
            pending_picos = budget.pending_picos - total.covered
        FROM (
            SELECT tenant_id, budget_id, sum(amount) AS amount, sum(covered) AS covered
            FROM spent GROUP BY tenant_id, budget_id
        ) total
        WHERE budget.tenant_id = total.tenant_id AND budget.budget_id = total.budget_id
        RETURNING 1
    )
    SELECT spent.*, (SELECT count(*) FROM posted) AS posted FROM spent
""")

_POST = text("""
    UPDATE account SET posted_picos = posted_picos + due.amount
    FROM unnest(CAST(:tenants AS text[]), CAST(:amounts AS numeric[])) AS due (tenant_id, amount)
    WHERE account.tenant_id = due.tenant_id
""")


async def post(
    session: AsyncSession,
    costs_picos: Mapping[tuple[TenantId, tuple[LeaseId, ...]], int],
    reference: str,
) -> set[tuple[TenantId, str]]:
    """Post costs (picos) to tenants and to the leases that pay each; raise `LookupError` for an unknown lease.

    Returns the budgets with a posting, by tenant and id.
    """
    totals: dict[TenantId, int] = {}
    due: dict[tuple[TenantId, LeaseId], int] = {}
    for (tenant_id, lease_ids), cost in costs_picos.items():
        totals[tenant_id] = totals.get(tenant_id, 0) + cost
        for lease_id in lease_ids:
            due[(tenant_id, lease_id)] = due.get((tenant_id, lease_id), 0) + cost
    parts = await _spend(session, due)
    await session.execute(_POST, {"tenants": list(totals), "amounts": list(totals.values())})
    for tenant_id, total in totals.items():
        moved: dict[str, int] = {Book.UNBILLED: total, Book.REVENUE: -total}
        for part in parts:
            if part.tenant_id == tenant_id:
                _move(moved, part)
        await ledger.transfer(session, tenant_id, TransferKind.USAGE, reference, moved)
    return {(part.tenant_id, part.budget_id) for part in parts}


async def _spend(session: AsyncSession, due: Mapping[tuple[TenantId, LeaseId], int]) -> list[Spent]:
    if not due:
        return []
    values = {
        "tenants": [tenant_id for tenant_id, _ in due],
        "leases": [lease_id for _, lease_id in due],
        "amounts": list(due.values()),
    }
    rows = (await session.execute(_SPEND, values)).mappings().all()
    parts = [
        Spent(
            TenantId(row["tenant_id"]),
            LeaseId(row["lease_id"]),
            row["budget_id"],
            int(row["amount"]),
            int(row["covered"]),
        )
        for row in rows
    ]
    if missing := due.keys() - {(part.tenant_id, part.lease_id) for part in parts}:
        named = ", ".join(f"{lease_id} of {tenant_id}" for tenant_id, lease_id in sorted(missing))
        raise LookupError(f"there is no lease {named} to post a settlement to")
    return parts


_CLOSE = text("""
    WITH due AS (
        SELECT * FROM unnest(CAST(:tenants AS text[]), CAST(:leases AS text[])) AS due (tenant_id, lease_id)
    ), closed AS (
        UPDATE lease SET closed_at = :closed_at, outcome = :outcome
        FROM due
        WHERE lease.tenant_id = due.tenant_id AND lease.lease_id = due.lease_id AND lease.closed_at IS NULL
        RETURNING lease.tenant_id, lease.lease_id, lease.budget_id,
            GREATEST(lease.granted_picos - lease.spent_picos, 0) AS held
    ), returned AS (
        UPDATE budget SET pending_picos = budget.pending_picos - total.held
        FROM (SELECT tenant_id, budget_id, sum(held) AS held FROM closed GROUP BY tenant_id, budget_id) total
        WHERE budget.tenant_id = total.tenant_id AND budget.budget_id = total.budget_id
        RETURNING 1
    )
    SELECT closed.*, (SELECT count(*) FROM returned) AS returned FROM closed
""")


async def close_leases(
    session: AsyncSession, leases: Sequence[tuple[TenantId, LeaseId]], outcome: LeaseOutcome = LeaseOutcome.RETURNED
) -> None:
    """Close leases and return their unspent amounts to the budgets; closed leases stay unchanged."""
    values: dict[str, Any] = {
        "tenants": [tenant_id for tenant_id, _ in leases],
        "leases": [lease_id for _, lease_id in leases],
        "closed_at": now(),
        "outcome": outcome.value,
    }
    for row in (await session.execute(_CLOSE, values)).mappings().all():
        moved = {leased(row["lease_id"]): -int(row["held"]), available(row["budget_id"]): int(row["held"])}
        tenant_id = TenantId(row["tenant_id"])
        await ledger.transfer(session, tenant_id, TransferKind.LEASE_RETURNED, row["lease_id"], moved)


async def adjust(
    session: AsyncSession, tenant_id: TenantId, lease_ids: Sequence[LeaseId], amount_picos: int, reference: str
) -> None:
    """Post a signed amount to a tenant and to the budgets of the leases."""
    leases = rows_of(tenant_id, Lease).where(col(Lease.lease_id).in_(lease_ids))
    of_leases = col(Budget.budget_id).in_(leases.with_only_columns(col(Lease.budget_id)))
    posted = update_of(tenant_id, Budget).where(of_leases).values(posted_picos=Budget.posted_picos + amount_picos)
    returned = posted.returning(col(Budget.budget_id)).execution_options(synchronize_session=False)
    budgets = list((await session.execute(returned)).scalars())
    mine = update_of(tenant_id, Account)
    await session.execute(mine.values(posted_picos=Account.posted_picos + amount_picos))
    moved: dict[str, int] = {Book.UNBILLED: amount_picos, Book.REVENUE: -amount_picos}
    for budget_id in budgets:
        moved[spent(budget_id)] = amount_picos
        moved[available(budget_id)] = -amount_picos
    await ledger.transfer(session, tenant_id, TransferKind.ADJUSTMENT, reference, moved)


async def charge(
    session: AsyncSession, tenant_id: TenantId, parts_picos: Mapping[LeaseId, int], amount_picos: int, reference: str
) -> None:
    """Post an amount once to a tenant, and to each lease its part."""
    parts = await _spend(session, {(tenant_id, lease_id): part for lease_id, part in parts_picos.items()})
    await session.execute(_POST, {"tenants": [tenant_id], "amounts": [amount_picos]})
    moved: dict[str, int] = {Book.UNBILLED: amount_picos, Book.REVENUE: -amount_picos}
    for part in parts:
        _move(moved, part)
    await ledger.transfer(session, tenant_id, TransferKind.LEASE_CHARGED, reference, moved)


def _move(amounts: dict[str, int], part: Spent) -> None:
    _add(amounts, leased(part.lease_id), -part.covered)
    _add(amounts, available(part.budget_id), part.covered - part.amount)
    _add(amounts, spent(part.budget_id), part.amount)


def _add(amounts: dict[str, int], account: str, amount: int) -> None:
    amounts[account] = amounts.get(account, 0) + amount
