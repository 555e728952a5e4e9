"""Invoices, their lines and payments in Postgres; each query names the tenant it is about."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.billing.contract.models import PoolCost
from finpool.billing.invoice.lines import Charged, Credited
from finpool.billing.invoice.schemas import InvoiceKind, InvoiceStatus
from finpool.billing.models import Invoice, InvoiceLine, InvoiceSeries, Payment
from finpool.kernel.ids import TenantId

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('invoices of ' || :tenant_id, 0))")


async def lock_invoices(session: AsyncSession, tenant_id: TenantId) -> None:
    """Let nobody else change the tenant's invoices until the transaction ends; do so before its account is locked.

    It is a lock of its own, because a large draft takes seconds, and an account that is locked so long would hold up
    the recorder, and requests that need more of a budget.
    """
    await session.execute(_LOCK, {"tenant_id": tenant_id})


_PAID_IN = text("""
    SELECT (SELECT COALESCE(sum(amount_micros), 0) FROM payment WHERE tenant_id = :tenant_id AND invoice_id IS NULL)
        - (SELECT COALESCE(sum(total_micros), 0) FROM invoice
            WHERE tenant_id = :tenant_id AND prepaid AND status <> 'draft')
""")


async def paid_in_micros(session: AsyncSession, tenant_id: TenantId) -> int:
    """Return what is left of what the tenant paid in advance, after its invoices and credit notes."""
    return int((await session.execute(_PAID_IN, {"tenant_id": tenant_id})).scalar_one())


async def next_number(session: AsyncSession, series: str) -> int:
    """Take the next number of a series: nobody else gets one until this transaction ends, so none is left out."""
    first = upsert(InvoiceSeries).values(series=series, last_number=1)
    grown = {"last_number": InvoiceSeries.last_number + 1}
    statement = first.on_conflict_do_update(index_elements=["series"], set_=grown)
    return int((await session.execute(statement.returning(col(InvoiceSeries.last_number)))).scalar_one())


async def invoice(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Invoice | None:
    """Return one invoice or credit note."""
    query = select(Invoice).where(col(Invoice.tenant_id) == tenant_id, col(Invoice.invoice_id) == invoice_id)
    return (await session.execute(query.execution_options(populate_existing=True))).scalar_one_or_none()


async def lines(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Sequence[InvoiceLine]:
    """Return an invoice's lines, by number."""
    query = select(InvoiceLine).where(
        col(InvoiceLine.tenant_id) == tenant_id, col(InvoiceLine.invoice_id) == invoice_id
    )
    return (await session.execute(query.order_by(col(InvoiceLine.line_no)))).scalars().all()


async def invoices(
    session: AsyncSession, tenant_id: TenantId, *, after: str | None, limit: int, drafts: bool
) -> Sequence[Invoice]:
    """Return a tenant's invoices and credit notes, the newest first, after the one whose id is `after`."""
    query = select(Invoice).where(col(Invoice.tenant_id) == tenant_id)
    if not drafts:
        query = query.where(col(Invoice.status) != InvoiceStatus.DRAFT)
    if after is not None:
        last = select(col(Invoice.created_at)).where(
            col(Invoice.tenant_id) == tenant_id, col(Invoice.invoice_id) == after
        )
        moment = last.scalar_subquery()
        older = col(Invoice.created_at) < moment
        query = query.where(older | ((col(Invoice.created_at) == moment) & (col(Invoice.invoice_id) < after)))
    newest = query.order_by(col(Invoice.created_at).desc(), col(Invoice.invoice_id).desc())
    return (await session.execute(newest.limit(limit))).scalars().all()


async def last_issued(session: AsyncSession, tenant_id: TenantId) -> Invoice | None:
    """Return the issued invoice whose period ends last."""
    query = select(Invoice).where(
        col(Invoice.tenant_id) == tenant_id,
        col(Invoice.kind) == InvoiceKind.INVOICE,
        col(Invoice.status) != InvoiceStatus.DRAFT,
    )
    return (await session.execute(query.order_by(col(Invoice.period_end).desc()).limit(1))).scalar_one_or_none()


async def draft(session: AsyncSession, tenant_id: TenantId) -> Invoice | None:
    """Return the tenant's draft, if there is one."""
    query = select(Invoice).where(
        col(Invoice.tenant_id) == tenant_id,
        col(Invoice.kind) == InvoiceKind.INVOICE,
        col(Invoice.status) == InvoiceStatus.DRAFT,
    )
    return (await session.execute(query)).scalar_one_or_none()


async def put_invoice(session: AsyncSession, row: Invoice) -> None:
    """Write a draft; one with the same id is replaced, and its lines are removed."""
    values = row.model_dump()
    key = {"tenant_id": row.tenant_id, "invoice_id": row.invoice_id}
    await session.execute(delete(InvoiceLine).filter_by(**key))
    changed = {name: value for name, value in values.items() if name not in key}
    statement = upsert(Invoice).values(values)
    await session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changed))


async def add_lines(session: AsyncSession, rows: Iterable[InvoiceLine]) -> None:
    """Write lines of a draft."""
    if values := [row.model_dump() for row in rows]:
        await session.execute(insert(InvoiceLine), values)


async def change(session: AsyncSession, row: Invoice, **values: object) -> None:
    """Change an invoice's status, and what goes with it."""
    mine = update(Invoice).where(col(Invoice.tenant_id) == row.tenant_id, col(Invoice.invoice_id) == row.invoice_id)
    await session.execute(mine.values(**values).execution_options(synchronize_session=False))


_CHARGED = text("""
    SELECT charge_start AS month,
        COALESCE(sum(amount_picos) FILTER (WHERE line.kind IN ('usage', 'lease_charge')), 0) AS usage,
        COALESCE(sum(amount_picos) FILTER (WHERE line.kind = 'commitment'), 0) AS commitment,
        COALESCE(sum(amount_picos) FILTER (WHERE line.kind = 'membership'), 0) AS membership
    FROM invoice_line AS line JOIN invoice USING (tenant_id, invoice_id)
    WHERE tenant_id = :tenant_id AND invoice.kind = 'invoice' AND invoice.status <> 'draft'
    GROUP BY charge_start
""")


async def charged(session: AsyncSession, tenant_id: TenantId) -> dict[datetime, Charged]:
    """Sum what the issued invoices charged for each month."""
    rows = (await session.execute(_CHARGED, {"tenant_id": tenant_id})).all()
    return {row.month: Charged(int(row.usage), int(row.commitment), int(row.membership)) for row in rows}


async def pool_costs_set_since(session: AsyncSession, moment: datetime, before: date) -> Sequence[date]:
    """Return the months before a date whose cost was set since a moment."""
    query = select(col(PoolCost.month)).where(col(PoolCost.created_at) >= moment, col(PoolCost.month) < before)
    return (await session.execute(query.distinct().order_by(col(PoolCost.month)))).scalars().all()


_CREDITED = text("""
    SELECT line.refers_to_line AS line_no, -sum(line.amount_micros) AS net, -sum(line.tax_micros) AS tax
    FROM invoice AS note JOIN invoice_line AS line USING (tenant_id, invoice_id)
    WHERE note.tenant_id = :tenant_id AND note.refers_to = :invoice_id
    GROUP BY line.refers_to_line
""")


async def credited(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> dict[int, Credited]:
    """Sum what was credited of each of an invoice's lines."""
    rows = await session.execute(_CREDITED, {"tenant_id": tenant_id, "invoice_id": invoice_id})
    return {row.line_no: Credited(int(row.net), int(row.tax)) for row in rows}


async def credit_note(session: AsyncSession, tenant_id: TenantId, invoice_id: str, reference: str) -> Invoice | None:
    """Return the credit note of an invoice that has this reference."""
    query = select(Invoice).filter_by(tenant_id=tenant_id, refers_to=invoice_id, reference=reference)
    return (await session.execute(query)).scalar_one_or_none()


async def payment(session: AsyncSession, tenant_id: TenantId, invoice_id: str | None, reference: str) -> Payment | None:
    """Return the payment of an invoice (None: in advance) that has this reference."""
    query = select(Payment).filter_by(tenant_id=tenant_id, invoice_id=invoice_id, reference=reference)
    return (await session.execute(query)).scalar_one_or_none()


async def paid_micros(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> int:
    """Sum the payments of an invoice."""
    query = select(func.coalesce(func.sum(col(Payment.amount_micros)), 0))
    return int((await session.execute(query.filter_by(tenant_id=tenant_id, invoice_id=invoice_id))).scalar_one())


async def add_payment(session: AsyncSession, row: Payment) -> None:
    """Write a payment."""
    await session.execute(insert(Payment).values(row.model_dump()))
