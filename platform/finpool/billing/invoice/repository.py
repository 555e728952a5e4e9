"""Invoices, their lines and payments in Postgres; each query names the tenant it is about."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sqlalchemy import ColumnElement, Select, func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.contract.models import PoolCost
from finpool.billing.invoice.lines import Charged, Credited
from finpool.billing.invoice.schemas import InvoiceKind, InvoiceStatus, LineKind
from finpool.billing.models import Invoice, InvoiceLine, InvoiceSeries, Payment
from finpool.kernel.ids import TenantId
from finpool.kernel.tenant_rows import delete_of, rows_of, update_of

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('invoices of ' || :tenant_id, 0))")


async def lock_invoices(session: AsyncSession, tenant_id: TenantId) -> None:
    """Let nobody else change the tenant's invoices until the transaction ends; do so before its account is locked.

    It is a lock of its own, because a large draft takes seconds, and an account that is locked so long would hold up
    the recorder, and requests that need more of a budget.
    """
    await session.execute(_LOCK, {"tenant_id": tenant_id})


async def paid_in_micros(session: AsyncSession, tenant_id: TenantId) -> int:
    """Return what is left of what the tenant paid in advance, after its invoices and credit notes."""
    paid = rows_of(tenant_id, Payment).where(col(Payment.invoice_id).is_(None))
    billed = rows_of(tenant_id, Invoice).where(col(Invoice.prepaid), col(Invoice.status) != InvoiceStatus.DRAFT)
    paid_sum = paid.with_only_columns(func.coalesce(func.sum(col(Payment.amount_micros)), 0)).scalar_subquery()
    billed_sum = billed.with_only_columns(func.coalesce(func.sum(col(Invoice.total_micros)), 0)).scalar_subquery()
    return int((await session.execute(select(paid_sum - billed_sum))).scalar_one())


async def next_number(session: AsyncSession, series: str) -> int:
    """Take the next number of a series: nobody else gets one until this transaction ends, so none is left out."""
    first = upsert(InvoiceSeries).values(series=series, last_number=1)
    grown = {"last_number": InvoiceSeries.last_number + 1}
    statement = first.on_conflict_do_update(index_elements=["series"], set_=grown)
    return int((await session.execute(statement.returning(col(InvoiceSeries.last_number)))).scalar_one())


async def invoice(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Invoice | None:
    """Return one invoice or credit note."""
    query = rows_of(tenant_id, Invoice).where(col(Invoice.invoice_id) == invoice_id)
    return (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()


async def lines(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Sequence[InvoiceLine]:
    """Return an invoice's lines, by number."""
    query = rows_of(tenant_id, InvoiceLine).where(col(InvoiceLine.invoice_id) == invoice_id)
    return (await session.execute(query.order_by(col(InvoiceLine.line_no)))).scalars().all()


async def invoices(
    session: AsyncSession, tenant_id: TenantId, *, after: str | None, limit: int, drafts: bool
) -> Sequence[Invoice]:
    """Return a tenant's invoices and credit notes, the newest first, after the one whose id is `after`."""
    query = rows_of(tenant_id, Invoice)
    if not drafts:
        query = query.where(col(Invoice.status) != InvoiceStatus.DRAFT)
    if after is not None:
        last = rows_of(tenant_id, Invoice).where(col(Invoice.invoice_id) == after)
        moment = last.with_only_columns(col(Invoice.created_at)).scalar_subquery()
        older = col(Invoice.created_at) < moment
        query = query.where(older | ((col(Invoice.created_at) == moment) & (col(Invoice.invoice_id) < after)))
    newest = query.order_by(col(Invoice.created_at).desc(), col(Invoice.invoice_id).desc())
    return (await session.execute(newest.limit(limit))).scalars().all()


async def last_issued(session: AsyncSession, tenant_id: TenantId) -> Invoice | None:
    """Return the issued invoice whose period ends last."""
    query = _issued(tenant_id)
    return (await session.execute(query.order_by(col(Invoice.period_end).desc()).limit(1))).scalar_one_or_none()


async def draft(session: AsyncSession, tenant_id: TenantId) -> Invoice | None:
    """Return the tenant's draft, if there is one."""
    query = rows_of(tenant_id, Invoice).where(
        col(Invoice.kind) == InvoiceKind.INVOICE, col(Invoice.status) == InvoiceStatus.DRAFT
    )
    return (await session.execute(query)).scalar_one_or_none()


async def put_invoice(session: AsyncSession, row: Invoice) -> None:
    """Write a draft; one with the same id is replaced, and its lines are removed."""
    values = row.model_dump()
    key = {"tenant_id": row.tenant_id, "invoice_id": row.invoice_id}
    lines_before = delete_of(TenantId(row.tenant_id), InvoiceLine).where(col(InvoiceLine.invoice_id) == row.invoice_id)
    await session.execute(lines_before)
    changed = {name: value for name, value in values.items() if name not in key}
    statement = upsert(Invoice).values(values)
    await session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changed))


async def add_lines(session: AsyncSession, rows: Iterable[InvoiceLine]) -> None:
    """Write lines of a draft."""
    if values := [row.model_dump() for row in rows]:
        await session.execute(insert(InvoiceLine), values)


async def change(session: AsyncSession, row: Invoice, **values: object) -> None:
    """Change an invoice's status, and what goes with it."""
    mine = update_of(TenantId(row.tenant_id), Invoice).where(col(Invoice.invoice_id) == row.invoice_id)
    await session.execute(mine.values(**values).execution_options(synchronize_session=False))


async def charged(session: AsyncSession, tenant_id: TenantId) -> dict[datetime, Charged]:
    """Sum what the issued invoices charged for each month."""
    month = col(InvoiceLine.charge_start)
    usage = _sum_of(LineKind.USAGE, LineKind.LEASE_CHARGE)
    commitment, membership = _sum_of(LineKind.COMMITMENT), _sum_of(LineKind.MEMBERSHIP)
    query = _lines_of(tenant_id, _issued(tenant_id)).group_by(month)
    rows = await session.execute(query.with_only_columns(month, usage, commitment, membership))
    return {row[0]: Charged(int(row[1]), int(row[2]), int(row[3])) for row in rows}


async def pool_costs_set_since(session: AsyncSession, moment: datetime, before: date) -> Sequence[date]:
    """Return the months before a date whose cost was set since a moment."""
    query = select(col(PoolCost.month)).where(col(PoolCost.created_at) >= moment, col(PoolCost.month) < before)
    return (await session.execute(query.distinct().order_by(col(PoolCost.month)))).scalars().all()


async def credited(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> dict[int, Credited]:
    """Sum what was credited of each of an invoice's lines."""
    line_no = col(InvoiceLine.refers_to_line)
    net, tax = func.sum(col(InvoiceLine.amount_micros)), func.sum(col(InvoiceLine.tax_micros))
    notes = rows_of(tenant_id, Invoice).where(col(Invoice.refers_to) == invoice_id)
    query = _lines_of(tenant_id, notes).group_by(line_no).with_only_columns(line_no, net, tax)
    return {row[0] or 0: Credited(-int(row[1]), -int(row[2])) for row in await session.execute(query)}


async def credit_note(session: AsyncSession, tenant_id: TenantId, invoice_id: str, reference: str) -> Invoice | None:
    """Return the credit note of an invoice that has this reference."""
    query = rows_of(tenant_id, Invoice).filter_by(refers_to=invoice_id, reference=reference)
    return (await session.execute(query)).scalar_one_or_none()


async def payment(session: AsyncSession, tenant_id: TenantId, invoice_id: str | None, reference: str) -> Payment | None:
    """Return the payment of an invoice (None: in advance) that has this reference."""
    query = rows_of(tenant_id, Payment).filter_by(invoice_id=invoice_id, reference=reference)
    return (await session.execute(query)).scalar_one_or_none()


async def paid_micros(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> int:
    """Sum the payments of an invoice."""
    query = rows_of(tenant_id, Payment).where(col(Payment.invoice_id) == invoice_id)
    total = query.with_only_columns(func.coalesce(func.sum(col(Payment.amount_micros)), 0))
    return int((await session.execute(total)).scalar_one())


async def add_payment(session: AsyncSession, row: Payment) -> None:
    """Write a payment."""
    await session.execute(insert(Payment).values(row.model_dump()))


def _issued(tenant_id: TenantId) -> Select[Invoice]:
    """Return the query for a tenant's issued invoices, without its credit notes."""
    kind, status = col(Invoice.kind), col(Invoice.status)
    return rows_of(tenant_id, Invoice).where(kind == InvoiceKind.INVOICE, status != InvoiceStatus.DRAFT)


def _lines_of(tenant_id: TenantId, documents: Select[Invoice]) -> Select[InvoiceLine]:
    """Return the query for the lines of a tenant's invoices or credit notes."""
    ids = documents.with_only_columns(col(Invoice.invoice_id))
    return rows_of(tenant_id, InvoiceLine).where(col(InvoiceLine.invoice_id).in_(ids))


def _sum_of(*kinds: LineKind) -> ColumnElement[int]:
    """Return the sum of lines of some kinds, in picos."""
    amounts = func.sum(col(InvoiceLine.amount_picos)).filter(col(InvoiceLine.kind).in_(kinds))
    return func.coalesce(amounts, 0)
