"""Disputes: a tenant disputes a charge, an operator answers once, and the audit log keeps both."""

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.billing.credit_note.service import credit_invoice
from finpool.billing.dispute import repository
from finpool.billing.dispute.schemas import DisputeAnswerBody, DisputeStatus, DisputeView, NewDispute
from finpool.billing.errors import (
    AboveWhatIsLeft,
    AlreadyAnswered,
    AlreadyDisputed,
    DisputeNotFound,
    InvoiceNotFound,
    LineNotFound,
    RequestNotFound,
    WrongInvoiceStatus,
)
from finpool.billing.invoice import repository as invoices
from finpool.billing.invoice.schemas import InvoiceKind, InvoiceStatus
from finpool.billing.models import Dispute
from finpool.billing.payment.schemas import LineCredit, NewCreditNote
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId, new_id
from finpool.kernel.money import PICOS_PER_MICRO, from_micros
from finpool.kernel.paging import ListPage, PageQuery, page_of
from finpool.metering.request_credit import service as request_credits
from finpool.quota.account import service as accounts
from finpool.tenancy import service as tenancy


async def open_dispute(session: AsyncSession, actor: Actor, body: NewDispute) -> DisputeView:
    """Open a dispute on a line of the tenant's issued invoices, or on one of its requests.

    Raises `InvoiceNotFound`, `WrongInvoiceStatus`, `LineNotFound` or `RequestNotFound`, and `AlreadyDisputed` while a
    dispute on the same subject is open.
    """
    tenant_id = actor.tenant
    if body.request_id is not None:
        if not await request_credits.is_recorded(session, tenant_id, body.request_id):
            raise RequestNotFound(body.request_id)
    elif body.invoice_id is not None and body.line_no is not None:
        await _require_line(session, tenant_id, body.invoice_id, body.line_no)
    row = Dispute(
        tenant_id=tenant_id,
        dispute_id=new_id("dispute"),
        status=DisputeStatus.OPEN.value,
        opened_by=actor.credential_id,
        opened_at=now(),
        **body.model_dump(),
    )
    if not await repository.add(session, row):
        raise AlreadyDisputed
    record = {"dispute_id": row.dispute_id, **body.model_dump(exclude_none=True)}
    await audit.append(session, kind="dispute.opened", tenant_id=tenant_id, actor=actor, body=record)
    return DisputeView.of(row)


async def answer_dispute(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, dispute_id: str, body: DisputeAnswerBody
) -> DisputeView:
    """Answer a dispute. Accepting one on a line issues a credit note; one on a request is credited by the next invoice.

    An equal answer changes nothing. Raises `DisputeNotFound`, `AlreadyAnswered`, `AboveWhatIsLeft` and
    `NotAWholeAmount`.
    """
    await tenancy.get_tenant(session, tenant_id)
    await invoices.lock_invoices(session, tenant_id)
    await accounts.lock_payment_terms(session, tenant_id)
    row = await repository.dispute(session, tenant_id, dispute_id, for_change=True)
    if row is None:
        raise DisputeNotFound(dispute_id)
    if row.status != DisputeStatus.OPEN:
        if (row.status, row.answer) != (body.verdict, body.answer):
            raise AlreadyAnswered
        return DisputeView.of(row)
    credit_note_id = adjustment_id = None
    if body.verdict == "accepted":
        if row.request_id is None:
            credit_note_id = await _credit_line(session, actor, row, body)
        else:
            adjustment_id = await _credit_request(session, actor, row, row.request_id, body)
    await repository.answer(
        session,
        row,
        status=body.verdict,
        answer=body.answer,
        answered_by=actor.credential_id,
        answered_at=now(),
        credit_note_id=credit_note_id,
        adjustment_id=adjustment_id,
    )
    known = {"credit_note_id": credit_note_id, "adjustment_id": adjustment_id}
    record = {"dispute_id": dispute_id, "verdict": body.verdict, "answer": body.answer}
    record |= {name: value for name, value in known.items() if value is not None}
    await audit.append(session, kind="dispute.answered", tenant_id=tenant_id, actor=actor, body=record)
    return await get_dispute(session, tenant_id, dispute_id)


async def get_dispute(session: AsyncSession, tenant_id: TenantId, dispute_id: str) -> DisputeView:
    """Return one dispute; raise `DisputeNotFound`."""
    row = await repository.dispute(session, tenant_id, dispute_id)
    if row is None:
        raise DisputeNotFound(dispute_id)
    return DisputeView.of(row)


async def list_disputes(session: AsyncSession, tenant_id: TenantId, query: PageQuery) -> ListPage[DisputeView]:
    """Return a page of a tenant's disputes, ordered by id."""
    rows = await repository.disputes_of(session, tenant_id, after=query.after, limit=query.limit + 1)
    return page_of(rows, query, DisputeView.of)


async def list_disputes_across_tenants(
    session: AsyncSession, query: PageQuery, status: DisputeStatus | None
) -> ListPage[DisputeView]:
    """Return a page of all tenants' disputes, of one status or of all for None, ordered by id."""
    rows = await repository.disputes_across_tenants(session, status=status, after=query.after, limit=query.limit + 1)
    return page_of(rows, query, DisputeView.of)


async def _require_line(session: AsyncSession, tenant_id: TenantId, invoice_id: str, line_no: int) -> None:
    row = await invoices.invoice(session, tenant_id, invoice_id)
    if row is None or row.status == InvoiceStatus.DRAFT:
        raise InvoiceNotFound(invoice_id)
    if row.kind != InvoiceKind.INVOICE:
        raise WrongInvoiceStatus("A credit note cannot be disputed: dispute the invoice's line.", param="invoice_id")
    if line_no not in {line.line_no for line in await invoices.lines(session, tenant_id, invoice_id)}:
        raise LineNotFound(line_no)


async def _credit_line(session: AsyncSession, actor: Actor, row: Dispute, body: DisputeAnswerBody) -> str:
    """Issue the credit note of an accepted dispute, and return its id."""
    line = LineCredit(line_no=row.line_no or 0, amount_micros=body.credit_micros)
    credit = NewCreditNote(reference=row.dispute_id, reason=f"dispute {row.dispute_id}", lines=(line,))
    return (await credit_invoice(session, actor, TenantId(row.tenant_id), row.invoice_id or "", credit)).id


async def _credit_request(
    session: AsyncSession, actor: Actor, row: Dispute, request_id: str, body: DisputeAnswerBody
) -> str:
    """Credit the disputed request by a usage adjustment, also in its budgets; return the adjustment's id."""
    tenant_id = TenantId(row.tenant_id)
    left = await request_credits.left_picos(session, tenant_id, request_id)
    if left is None:
        raise RequestNotFound(request_id)
    credit = left if body.credit_micros is None else from_micros(body.credit_micros)
    if not 0 < credit <= left:
        raise AboveWhatIsLeft(f"request {request_id}", max(left, 0) // PICOS_PER_MICRO)
    return await request_credits.credit_request(session, actor, tenant_id, request_id, credit, body.answer)
