"""Credit notes: an issued invoice never changes, so another document takes an excess charge back."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.errors import AboveWhatIsLeft, LineNotFound, ReferenceUsed
from finpool.billing.invoice import repository
from finpool.billing.invoice.lines import Credited, credit_of
from finpool.billing.invoice.schemas import InvoiceKind, InvoiceStatus, InvoiceView, LineKind
from finpool.billing.invoice.service import FEES, find, find_issued, next_number, record
from finpool.billing.invoice.views import view
from finpool.billing.models import Invoice, InvoiceLine
from finpool.billing.payment.schemas import NewCreditNote
from finpool.billing.payment.service import close_if_settled
from finpool.billing.rounding import minor_unit_micros
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId, new_id
from finpool.kernel.money import from_micros
from finpool.quota.account import service as accounts
from finpool.quota.ledger import service as ledger
from finpool.quota.ledger.schemas import Book, TransferKind
from finpool.tenancy import service as tenancy


async def credit_invoice(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, invoice_id: str, body: NewCreditNote
) -> InvoiceView:
    """Issue a credit note over lines of an issued invoice, or over its whole rest.

    A repeated reference returns the same credit note. Raises `InvoiceNotFound`, `WrongInvoiceStatus`, `LineNotFound`,
    `NotAWholeAmount`, `AboveWhatIsLeft` and `ReferenceUsed`.
    """
    await tenancy.get_tenant(session, tenant_id)
    await repository.lock_invoices(session, tenant_id)
    await accounts.lock_payment_terms(session, tenant_id)
    row = await find_issued(session, tenant_id, invoice_id)
    issued = await repository.credit_note(session, tenant_id, invoice_id, body.reference)
    if issued is not None:
        return await _same(session, row, issued, body)
    lines = await repository.lines(session, tenant_id, invoice_id)
    so_far = await repository.credited(session, tenant_id, invoice_id)
    credits_now = _credits(lines, so_far, body, minor_unit_micros(row.currency))
    if not credits_now:
        raise AboveWhatIsLeft(str(row.number), 0)
    note_id = new_id("cn")
    noted = [
        _credit_line(line, credits_now[line.line_no], note_id, number)
        for number, line in enumerate((each for each in lines if each.line_no in credits_now), start=1)
    ]
    note = _note(row, actor, body, note_id, noted)
    await repository.put_invoice(session, note)
    await repository.add_lines(session, noted)
    number = await next_number(session, tenant_id, "CN", note.created_at)
    await repository.change(session, note, status=InvoiceStatus.ISSUED.value, number=number, issued_at=note.created_at)
    await _book(session, note, number, noted, {line.line_no: LineKind(line.kind) for line in lines})
    result = await find(session, tenant_id, note_id)
    await record(session, actor, "invoice.credited", result)
    await close_if_settled(session, actor, row)
    return view(result, noted, row.number)


async def _same(session: AsyncSession, row: Invoice, issued: Invoice, body: NewCreditNote) -> InvoiceView:
    """Return the credit note with this reference; raise `ReferenceUsed` if it differs from the body."""
    noted = await repository.lines(session, TenantId(row.tenant_id), issued.invoice_id)
    found = {line.refers_to_line: -line.amount_micros for line in noted}
    amounts = {each.line_no: each.amount_micros for each in body.lines or ()}
    differs = any(amount not in (None, found.get(line_no)) for line_no, amount in amounts.items())
    if issued.reason != body.reason or differs or (amounts and amounts.keys() != found.keys()):
        raise ReferenceUsed(body.reference)
    return view(issued, noted, row.number)


def _credits(
    lines: Sequence[InvoiceLine], so_far: Mapping[int, Credited], body: NewCreditNote, minor_unit: int
) -> dict[int, Credited]:
    """Return the credit of each line by its number, without lines that get none."""
    known = {line.line_no: line for line in lines}
    amounts: dict[int, int | None] = {}
    for each in body.lines or ():
        if each.line_no not in known:
            raise LineNotFound(each.line_no)
        amounts[each.line_no] = each.amount_micros
    chosen = amounts if body.lines is not None else dict.fromkeys(known)
    found = {
        line_no: credit_of(known[line_no], so_far.get(line_no, Credited()), amount, minor_unit)
        for line_no, amount in chosen.items()
    }
    return {line_no: each for line_no, each in found.items() if each != Credited()}


def _credit_line(line: InvoiceLine, credit: Credited, note_id: str, number: int) -> InvoiceLine:
    return InvoiceLine(
        tenant_id=line.tenant_id,
        invoice_id=note_id,
        line_no=number,
        kind=LineKind.CREDIT.value,
        correction=True,
        charge_start=line.charge_start,
        charge_end=line.charge_end,
        project_id=line.project_id,
        model_id=line.model_id,
        price_version=line.price_version,
        tier=line.tier,
        refers_to_line=line.line_no,
        amount_picos=-from_micros(credit.net_micros),
        amount_micros=-credit.net_micros,
        tax_basis_points=line.tax_basis_points,
        tax_micros=-credit.tax_micros,
    )


def _note(row: Invoice, actor: Actor, body: NewCreditNote, note_id: str, noted: Sequence[InvoiceLine]) -> Invoice:
    net, tax = sum(line.amount_micros for line in noted), sum(line.tax_micros for line in noted)
    return Invoice(
        tenant_id=row.tenant_id,
        invoice_id=note_id,
        kind=InvoiceKind.CREDIT_NOTE.value,
        status=InvoiceStatus.DRAFT.value,
        refers_to=row.invoice_id,
        reference=body.reference,
        reason=body.reason,
        prepaid=row.prepaid,
        currency=row.currency,
        seller_name=row.seller_name,
        buyer_name=row.buyer_name,
        tax_label=row.tax_label,
        period_start=row.period_start,
        period_end=row.period_end,
        net_micros=net,
        tax_micros=tax,
        total_micros=net + tax,
        created_by=actor.credential_id,
        created_at=now(),
    )


async def _book(
    session: AsyncSession, note: Invoice, number: str, noted: Sequence[InvoiceLine], kinds: Mapping[int, LineKind]
) -> None:
    """Reverse receivable, tax, fees and revenue in the ledger; a prepaid tenant can spend the amount again."""
    tenant_id = TenantId(note.tenant_id)
    total, tax = from_micros(note.total_micros), from_micros(note.tax_micros)
    fees = sum(line.amount_picos for line in noted if kinds[line.refers_to_line or 0] in FEES)
    moved: dict[str, int] = {Book.RECEIVABLE: total, Book.TAX: -tax, Book.FEES: -fees, Book.REVENUE: fees + tax - total}
    await ledger.transfer(session, tenant_id, TransferKind.CREDIT_NOTE, number, moved)
    if note.prepaid:
        back: dict[str, int] = {Book.PREPAID: total, Book.RECEIVABLE: -total}
        await ledger.transfer(session, tenant_id, TransferKind.PAYMENT, number, back)
        await accounts.fund(session, tenant_id, -total)
