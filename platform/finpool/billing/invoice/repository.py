"""Queries on invoices, their lines and payments; each filters by tenant."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sqlalchemy import ColumnElement, Select, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.contract.models import PoolCost
from finpool.billing.invoice.lines import Charged, Credited
from finpool.billing.invoice.schemas import InvoiceKind, InvoiceStatus, LineKind
from finpool.billing.models import Invoice, InvoiceLine, InvoiceSeries, Payment
from finpool.kernel.database.tenant_rows import delete_of, rows_of, update_of
from finpool.kernel.ids import TenantId
from finpool.tenancy import service as tenancy


async def lock_invoices(session: AsyncSession, tenant_id: TenantId) -> None:
    """Lock the tenant's invoices until the transaction ends; take this lock before that of its account.

    It locks the tenant and not the account: a large draft takes seconds, and a locked account would block the recorder
    and new leases.
    """
    await tenancy.lock_tenant(session, tenant_id)


async def paid_in_micros(session: AsyncSession, tenant_id: TenantId) -> int:
    """Return the rest of the tenant's payments in advance after its invoices and credit notes, in micros."""
    paid = rows_of(tenant_id, Payment).where(col(Payment.invoice_id).is_(None))
    billed = rows_of(tenant_id, Invoice).where(col(Invoice.prepaid), col(Invoice.status) != InvoiceStatus.DRAFT)
    paid_sum = paid.with_only_columns(func.coalesce(func.sum(col(Payment.amount_micros)), 0)).scalar_subquery()
    billed_sum = billed.with_only_columns(func.coalesce(func.sum(col(Invoice.total_micros)), 0)).scalar_subquery()
    return int((await session.execute(select(paid_sum - billed_sum))).scalar_one())


async def next_number(session: AsyncSession, series: str) -> int:
    """Take the next number of a series; it stays locked until this transaction ends, so no number is skipped."""
    first = upsert(InvoiceSeries).values(series=series, last_number=1)
    grown = {"last_number": InvoiceSeries.last_number + 1}
    statement = first.on_conflict_do_update(index_elements=["series"], set_=grown)
    return int((await session.execute(statement.returning(col(InvoiceSeries.last_number)))).scalar_one())


async def invoice(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Invoice | None:
    """Return one invoice or credit note, or None."""
    query = rows_of(tenant_id, Invoice).where(col(Invoice.invoice_id) == invoice_id)
    return (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()


async def lines(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Sequence[InvoiceLine]:
    """Return an invoice's lines, ordered by number."""
    query = rows_of(tenant_id, InvoiceLine).where(col(InvoiceLine.invoice_id) == invoice_id)
    return (await session.execute(query.order_by(col(InvoiceLine.line_no)))).scalars().all()


async def referred_numbers(session: AsyncSession, tenant_id: TenantId, rows: Iterable[Invoice]) -> dict[str, str]:
    """Return the numbers of the invoices that credit notes refer to, by id."""
    ids = {row.refers_to for row in rows if row.refers_to is not None}
    if not ids:
        return {}
    query = rows_of(tenant_id, Invoice).where(col(Invoice.invoice_id).in_(ids), col(Invoice.number).is_not(None))
    named = await session.execute(query.with_only_columns(col(Invoice.invoice_id), col(Invoice.number)))
    return {row[0]: str(row[1]) for row in named}


async def invoices(
    session: AsyncSession, tenant_id: TenantId, *, after: str | None, limit: int, drafts: bool
) -> Sequence[Invoice]:
    """Return a tenant's invoices and credit notes after the one with id `after`, the newest first."""
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
    """Return the issued invoice with the latest period end, or None."""
    query = _issued(tenant_id)
    return (await session.execute(query.order_by(col(Invoice.period_end).desc()).limit(1))).scalar_one_or_none()


async def draft(session: AsyncSession, tenant_id: TenantId) -> Invoice | None:
    """Return the tenant's draft, or None."""
    query = rows_of(tenant_id, Invoice).where(
        col(Invoice.kind) == InvoiceKind.INVOICE, col(Invoice.status) == InvoiceStatus.DRAFT
    )
    return (await session.execute(query)).scalar_one_or_none()


async def put_invoice(session: AsyncSession, row: Invoice) -> None:
    """Insert a draft; replace one with the same id and delete its lines."""
    values = row.model_dump()
    key = {"tenant_id": row.tenant_id, "invoice_id": row.invoice_id}
    lines_before = delete_of(TenantId(row.tenant_id), InvoiceLine).where(col(InvoiceLine.invoice_id) == row.invoice_id)
    await session.execute(lines_before)
    changed = {name: value for name, value in values.items() if name not in key}
    statement = upsert(Invoice).values(values)
    await session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changed))


async def add_lines(session: AsyncSession, rows: Iterable[InvoiceLine]) -> None:
    """Insert lines of a draft."""
    if values := [row.model_dump() for row in rows]:
        await session.execute(insert(InvoiceLine), values)


async def change(session: AsyncSession, row: Invoice, **values: object) -> None:
    """Update an invoice's status and the fields that belong to it."""
    mine = update_of(TenantId(row.tenant_id), Invoice).where(col(Invoice.invoice_id) == row.invoice_id)
    await session.execute(mine.values(**values).execution_options(synchronize_session=False))


async def charged(session: AsyncSession, tenant_id: TenantId) -> dict[datetime, Charged]:
    """Return the charges of the issued invoices, summed by month."""
    month = col(InvoiceLine.charge_start)
    usage = _sum_of(LineKind.USAGE, LineKind.LEASE_CHARGE)
    commitment, membership = _sum_of(LineKind.COMMITMENT), _sum_of(LineKind.MEMBERSHIP)
    query = _lines_of(tenant_id, _issued(tenant_id)).group_by(month)
    rows = await session.execute(query.with_only_columns(month, usage, commitment, membership))
    return {row[0]: Charged(int(row[1]), int(row[2]), int(row[3])) for row in rows}


async def pool_costs_set_since(session: AsyncSession, moment: datetime, before: date) -> Sequence[date]:
    """Return the months before `before` whose pool cost was set since `moment`."""
    query = select(col(PoolCost.month)).where(col(PoolCost.created_at) >= moment, col(PoolCost.month) < before)
    return (await session.execute(query.distinct().order_by(col(PoolCost.month)))).scalars().all()


async def credited(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> dict[int, Credited]:
    """Return the credits of an invoice, summed by line."""
    line_no = col(InvoiceLine.refers_to_line)
    net, tax = func.sum(col(InvoiceLine.amount_micros)), func.sum(col(InvoiceLine.tax_micros))
    notes = rows_of(tenant_id, Invoice).where(col(Invoice.refers_to) == invoice_id)
    query = _lines_of(tenant_id, notes).group_by(line_no).with_only_columns(line_no, net, tax)
    return {row[0] or 0: Credited(-int(row[1]), -int(row[2])) for row in await session.execute(query)}


async def credit_note(session: AsyncSession, tenant_id: TenantId, invoice_id: str, reference: str) -> Invoice | None:
    """Return the credit note of an invoice with this reference, or None."""
    query = rows_of(tenant_id, Invoice).filter_by(refers_to=invoice_id, reference=reference)
    return (await session.execute(query)).scalar_one_or_none()


async def payment(session: AsyncSession, tenant_id: TenantId, invoice_id: str | None, reference: str) -> Payment | None:
    """Return the payment of an invoice (None: in advance) with this reference, or None."""
    query = rows_of(tenant_id, Payment).filter_by(invoice_id=invoice_id, reference=reference)
    return (await session.execute(query)).scalar_one_or_none()


async def paid_micros(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> int:
    """Return the sum of an invoice's payments, in micros."""
    query = rows_of(tenant_id, Payment).where(col(Payment.invoice_id) == invoice_id)
    total = query.with_only_columns(func.coalesce(func.sum(col(Payment.amount_micros)), 0))
    return int((await session.execute(total)).scalar_one())


async def add_payment(session: AsyncSession, row: Payment) -> None:
    """Insert a payment."""
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
    """Return the sum of lines of these kinds, in picos."""
    amounts = func.sum(col(InvoiceLine.amount_picos)).filter(col(InvoiceLine.kind).in_(kinds))
    return func.coalesce(amounts, 0)
