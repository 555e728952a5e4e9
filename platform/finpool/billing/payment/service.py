"""Payments of invoices, and of prepaid tenants in advance. Each is booked once."""

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.billing.errors import (
    AboveWhatIsLeft,
    NotAWholeAmount,
    NotPrepaid,
    ReferenceUsed,
    WrongInvoiceStatus,
)
from finpool.billing.invoice import repository
from finpool.billing.invoice.schemas import InvoiceStatus
from finpool.billing.invoice.service import find_issued, record
from finpool.billing.models import Invoice, Payment
from finpool.billing.payment.schemas import NewPayment, PaymentView
from finpool.billing.rounding import minor_unit_micros
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId, new_id
from finpool.kernel.money import from_micros
from finpool.quota.account import service as accounts
from finpool.quota.ledger import service as ledger
from finpool.quota.ledger.schemas import Book, TransferKind
from finpool.quota.schemas import PaymentTerms
from finpool.tenancy import service as tenancy


async def pay_invoice(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, invoice_id: str, body: NewPayment
) -> PaymentView:
    """Book a payment of an issued invoice; the invoice is paid once no amount is open.

    Raises `InvoiceNotFound`, `WrongInvoiceStatus`, `NotAWholeAmount` or `AboveWhatIsLeft`, and `ReferenceUsed` for a
    reference with another amount.
    """
    await tenancy.get_tenant(session, tenant_id)
    await repository.lock_invoices(session, tenant_id)
    await accounts.lock_payment_terms(session, tenant_id)
    row = await find_issued(session, tenant_id, invoice_id)
    booked = await _booked(session, tenant_id, invoice_id, body)
    left = await open_micros(session, row)
    if booked is not None:
        return _view(booked, left)
    if row.status == InvoiceStatus.PAID:
        raise WrongInvoiceStatus(f"Nothing is open of {row.number}.", param="invoice_id")
    _require_whole(body.amount_micros, row.currency)
    if body.amount_micros > left:
        raise AboveWhatIsLeft(str(row.number), left)
    payment = await _add(session, actor, tenant_id, invoice_id, body)
    amount = from_micros(body.amount_micros)
    await ledger.transfer(
        session, tenant_id, TransferKind.PAYMENT, payment.payment_id, {Book.CASH: amount, Book.RECEIVABLE: -amount}
    )
    await close_if_settled(session, actor, row)
    return _view(payment, left - body.amount_micros)


async def top_up(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, body: NewPayment, currency: str
) -> PaymentView:
    """Book a prepaid tenant's payment in advance; its next request can spend it.

    Raises `TenantNotFound`, `NotPrepaid`, `NotAWholeAmount` or `ReferenceUsed`.
    """
    await tenancy.get_tenant(session, tenant_id)
    await repository.lock_invoices(session, tenant_id)
    terms = await accounts.lock_payment_terms(session, tenant_id)
    booked = await _booked(session, tenant_id, None, body)
    if booked is not None:
        return _view(booked, None)
    if terms is not PaymentTerms.PREPAID:
        raise NotPrepaid
    _require_whole(body.amount_micros, currency)
    payment = await _add(session, actor, tenant_id, None, body)
    amount = from_micros(body.amount_micros)
    await ledger.transfer(
        session, tenant_id, TransferKind.TOP_UP, payment.payment_id, {Book.CASH: amount, Book.PREPAID: -amount}
    )
    await accounts.fund(session, tenant_id, amount)
    return _view(payment, None)


async def open_micros(session: AsyncSession, row: Invoice) -> int:
    """Return the open amount of an issued invoice: its total less payments and credits, in micros."""
    if row.prepaid:
        return 0
    tenant_id = TenantId(row.tenant_id)
    credited = await repository.credited(session, tenant_id, row.invoice_id)
    taken_back = sum(each.net_micros + each.tax_micros for each in credited.values())
    return row.total_micros - taken_back - await repository.paid_micros(session, tenant_id, row.invoice_id)


async def close_if_settled(session: AsyncSession, actor: Actor, row: Invoice) -> None:
    """Mark an issued invoice as paid once no amount of it is open."""
    if row.status == InvoiceStatus.ISSUED and await open_micros(session, row) <= 0:
        await repository.change(session, row, status=InvoiceStatus.PAID.value, paid_at=now())
        await record(
            session, actor, "invoice.paid", await find_issued(session, TenantId(row.tenant_id), row.invoice_id)
        )


async def _booked(
    session: AsyncSession, tenant_id: TenantId, invoice_id: str | None, body: NewPayment
) -> Payment | None:
    booked = await repository.payment(session, tenant_id, invoice_id, body.reference)
    if booked is not None and booked.amount_micros != body.amount_micros:
        raise ReferenceUsed(body.reference)
    return booked


async def _add(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, invoice_id: str | None, body: NewPayment
) -> Payment:
    payment = Payment(
        tenant_id=tenant_id,
        payment_id=new_id("pay"),
        invoice_id=invoice_id,
        reference=body.reference,
        amount_micros=body.amount_micros,
        created_by=actor.credential_id,
        created_at=now(),
    )
    await repository.add_payment(session, payment)
    known = {"payment_id": payment.payment_id, "invoice_id": invoice_id, **body.model_dump()}
    content = {name: value for name, value in known.items() if value is not None}
    await audit.append(session, kind="payment.received", tenant_id=tenant_id, actor=actor, body=content)
    return payment


def _require_whole(amount_micros: int, currency: str) -> None:
    unit = minor_unit_micros(currency)
    if amount_micros % unit:
        raise NotAWholeAmount(unit)


def _view(row: Payment, open_amount_micros: int | None) -> PaymentView:
    return PaymentView.model_validate({**row.model_dump(), "id": row.payment_id, "open_micros": open_amount_micros})
