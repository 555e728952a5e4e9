"""Invoices: drafted any number of times, issued once with a number, and then constant."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.billing.errors import InvoiceNotFound, InvoiceNotReady, WrongInvoiceStatus
from finpool.billing.invoice import repository
from finpool.billing.invoice.draft import compute
from finpool.billing.invoice.lines import BillingTerms
from finpool.billing.invoice.schemas import (
    InvoiceKind,
    InvoiceStatus,
    InvoiceSummary,
    InvoiceView,
    LineKind,
)
from finpool.billing.invoice.views import read_view, summary, view
from finpool.billing.models import Invoice, InvoiceLine
from finpool.billing.months import month_named
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId, new_id
from finpool.kernel.money import from_micros
from finpool.kernel.paging import ListPage, PageQuery, page_of
from finpool.quota.account import service as accounts
from finpool.quota.ledger import service as ledger
from finpool.quota.ledger.schemas import Book, TransferKind
from finpool.quota.schemas import PaymentTerms
from finpool.tenancy import service as tenancy

FEES = (LineKind.COMMITMENT, LineKind.MEMBERSHIP)
"""Lines other than usage; the ledger has no entry of them before the invoice."""


async def draft_invoice(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, month: str, terms: BillingTerms
) -> InvoiceView:
    """Draft, or draft again, the invoice from the end of the last one to the end of `month` (`2026-10`).

    Later records belong to the next invoice. Raises `TenantNotFound`, `PeriodNotInvoiceable` or `UsageDoesNotAddUp`.
    """
    await tenancy.get_tenant(session, tenant_id)
    await repository.lock_invoices(session, tenant_id)
    before = await repository.draft(session, tenant_id)
    invoice_id = before.invoice_id if before else new_id("inv")
    drafted = await compute(
        session,
        tenant_id,
        month_named(month),
        terms,
        invoice_id,
        created_by=actor.credential_id,
        membership_fees=True,
    )
    await repository.put_invoice(session, drafted.row)
    await repository.add_lines(session, drafted.lines)
    await record(session, actor, "invoice.drafted", drafted.row)
    return view(drafted.row, drafted.lines)


async def issue_invoice(session: AsyncSession, actor: Actor, tenant_id: TenantId, invoice_id: str) -> InvoiceView:
    """Number a draft and book it; an issued invoice is returned unchanged.

    An invoice of a prepaid tenant, or without a positive total, is paid at once. Raises `InvoiceNotFound`, and
    `InvoiceNotReady` for a draft made before its period ended, or larger than the prepaid rest.
    """
    await tenancy.get_tenant(session, tenant_id)
    await repository.lock_invoices(session, tenant_id)
    row = await find(session, tenant_id, invoice_id)
    lines = await repository.lines(session, tenant_id, invoice_id)
    if row.status != InvoiceStatus.DRAFT:
        return view(row, lines)
    await _require_ready(session, row, await accounts.lock_payment_terms(session, tenant_id))
    issued_at = now()
    number = await next_number(session, tenant_id, "INV", issued_at)
    settled = row.prepaid or row.total_micros <= 0
    await repository.change(
        session,
        row,
        status=(InvoiceStatus.PAID if settled else InvoiceStatus.ISSUED).value,
        number=number,
        issued_at=issued_at,
        paid_at=issued_at if settled else None,
    )
    await _book(session, row, lines, number)
    issued = await find(session, tenant_id, invoice_id)
    await record(session, actor, "invoice.issued", issued)
    return view(issued, lines)


async def get_invoice(session: AsyncSession, tenant_id: TenantId, invoice_id: str, *, drafts: bool) -> InvoiceView:
    """Return one invoice or credit note with its lines; raise `InvoiceNotFound`, also for a draft without `drafts`."""
    row = await find(session, tenant_id, invoice_id)
    if row.status == InvoiceStatus.DRAFT and not drafts:
        raise InvoiceNotFound(invoice_id)
    return await read_view(session, row)


async def list_invoices(
    session: AsyncSession, tenant_id: TenantId, query: PageQuery, *, drafts: bool
) -> ListPage[InvoiceSummary]:
    """Return a page of a tenant's invoices and credit notes, the newest first."""
    rows = await repository.invoices(session, tenant_id, after=query.after, limit=query.limit + 1, drafts=drafts)
    numbers = await repository.referred_numbers(session, tenant_id, rows)
    return page_of(rows, query, lambda row: summary(row, numbers.get(row.refers_to or "")))


async def find(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Invoice:
    """Return an invoice's row; raise `InvoiceNotFound`."""
    row = await repository.invoice(session, tenant_id, invoice_id)
    if row is None:
        raise InvoiceNotFound(invoice_id)
    return row


async def find_issued(session: AsyncSession, tenant_id: TenantId, invoice_id: str) -> Invoice:
    """Return an issued or paid invoice's row; raise `InvoiceNotFound`, or `WrongInvoiceStatus` for others."""
    row = await find(session, tenant_id, invoice_id)
    if row.kind != InvoiceKind.INVOICE or row.status == InvoiceStatus.DRAFT:
        raise WrongInvoiceStatus(f"{row.number or row.invoice_id} is no issued invoice.", param="invoice_id")
    return row


async def next_number(session: AsyncSession, tenant_id: TenantId, prefix: str, at: datetime) -> str:
    """Return the next number of the tenant's series of this year, such as INV-bank-a-2026-000001; there are no gaps.

    A series of all tenants would tell each of them the number of invoices of the others.
    """
    series = f"{prefix}-{tenant_id}-{at:%Y}"
    return f"{series}-{await repository.next_number(session, series):06d}"


async def record(session: AsyncSession, actor: Actor, kind: str, row: Invoice) -> None:
    """Append an audit event of an invoice or a credit note."""
    body = {
        "invoice_id": row.invoice_id,
        "number": row.number,
        "status": row.status,
        "refers_to": row.refers_to,
        "period_start": row.period_start.isoformat(),
        "period_end": row.period_end.isoformat(),
        "currency": row.currency,
        "net_micros": str(row.net_micros),
        "tax_micros": str(row.tax_micros),
        "total_micros": str(row.total_micros),
    }
    known = {name: value for name, value in body.items() if value is not None}
    await audit.append(session, kind=kind, tenant_id=TenantId(row.tenant_id), actor=actor, body=known)


async def _require_ready(session: AsyncSession, row: Invoice, terms: PaymentTerms) -> None:
    if row.created_at < row.period_end:
        raise InvoiceNotReady(
            f"The draft was made before its period ended ({row.period_end:%Y-%m-%d}): draft it again after that."
        )
    if row.prepaid != (terms is PaymentTerms.PREPAID):
        raise InvoiceNotReady("The tenant's payment terms have changed since the draft was made: draft it again.")
    if row.prepaid:
        left = await repository.paid_in_micros(session, TenantId(row.tenant_id))
        if row.total_micros > left:
            raise InvoiceNotReady(
                f"The invoice is over {row.total_micros} micros, but only {left} are left of the tenant's prepayment:"
                " book another payment in advance first."
            )


async def _book(session: AsyncSession, row: Invoice, lines: Sequence[InvoiceLine], number: str) -> None:
    """Move used amounts to receivable in the ledger; for a prepaid tenant also take the total from its prepayment.

    The recorder has taken the usage from the prepaid budget already, so only fees, tax and rounding are taken now.
    """
    tenant_id = TenantId(row.tenant_id)
    fees = sum(line.amount_picos for line in lines if LineKind(line.kind) in FEES)
    used = sum(line.amount_picos for line in lines) - fees
    tax, total = from_micros(row.tax_micros), from_micros(row.total_micros)
    await ledger.transfer(
        session,
        tenant_id,
        TransferKind.INVOICE,
        number,
        {
            Book.RECEIVABLE: total,
            Book.UNBILLED: -used,
            Book.FEES: -fees,
            Book.TAX: -tax,
            Book.ROUNDING: used + fees + tax - total,
        },
    )
    if row.prepaid:
        moved: dict[str, int] = {Book.PREPAID: total, Book.RECEIVABLE: -total}
        await ledger.transfer(session, tenant_id, TransferKind.PAYMENT, number, moved)
        await accounts.fund(session, tenant_id, used - total)
