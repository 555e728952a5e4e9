"""Payments, credit notes and prepaid accounts: nothing is booked twice, and never more than is left."""

import asyncio
from typing import Any

import pytest

from finpool.billing.credit_note.service import credit_invoice
from finpool.billing.errors import (
    AboveWhatIsLeft,
    InvoiceNotReady,
    LineNotFound,
    NotAWholeAmount,
    NotPrepaid,
    ReferenceUsed,
    WrongInvoiceStatus,
)
from finpool.billing.invoice.schemas import InvoiceView
from finpool.billing.invoice.service import get_invoice
from finpool.billing.payment import service as payment_service
from finpool.billing.payment.schemas import LineCredit, NewCreditNote, NewPayment, PaymentView
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)

CENT = 10_000


async def top_up(bank: Any, amount_micros: int, reference: str = "transfer 1") -> PaymentView:
    body = NewPayment(amount_micros=amount_micros, reference=reference)
    async with bank.operator() as session:
        return await payment_service.top_up(session, OPERATOR, bank.tenant_id, body, "EUR")


async def credit(bank: Any, invoice_id: str, *lines: tuple[int, int | None], reference: str = "case 1") -> InvoiceView:
    """Credit lines, each by number and amount, or without any the whole invoice."""
    chosen = tuple(LineCredit(line_no=number, amount_micros=amount) for number, amount in lines)
    body = NewCreditNote(reference=reference, reason="agreed", lines=chosen or None)
    async with bank.operator() as session:
        return await credit_invoice(session, OPERATOR, bank.tenant_id, invoice_id, body)


async def status_of(bank: Any, invoice_id: str) -> str:
    async with bank.operator() as session:
        return (await get_invoice(session, bank.tenant_id, invoice_id, drafts=True)).status.value


@pytest.fixture
async def invoice(bank: Any, use: Any, at: Any) -> Any:
    """An issued invoice of two lines: 12.00 and 24.00 before 6 % of tax, 38.16 in all."""
    await bank.record([use(at(1), tokens=(80_000_000, 0, 40_000_000))])
    return await bank.issued("2025-01")


async def test_an_invoice_is_paid_once_nothing_is_open(bank: Any, invoice: Any) -> None:
    first = await bank.pay(invoice.id, 3_160_000, "transfer 1")
    assert (first.open_micros, await status_of(bank, invoice.id)) == (35_000_000, "issued")
    last = await bank.pay(invoice.id, 35_000_000, "transfer 2")
    assert (last.open_micros, await status_of(bank, invoice.id)) == (0, "paid")
    balances = await bank.balances()
    assert "receivable" not in balances
    assert balances["cash"] == 38_160_000 * 10**6


async def test_a_payment_sent_twice_is_booked_once(bank: Any, invoice: Any) -> None:
    first = await bank.pay(invoice.id, 38_160_000)
    assert await bank.pay(invoice.id, 38_160_000) == first
    assert (await bank.balances())["cash"] == 38_160_000 * 10**6
    with pytest.raises(ReferenceUsed):
        await bank.pay(invoice.id, CENT)
    with pytest.raises(WrongInvoiceStatus, match="Nothing is open"):
        await bank.pay(invoice.id, CENT, "transfer 2")


async def test_operators_who_press_at_the_same_time_do_it_once(bank: Any, use: Any, at: Any) -> None:
    await bank.record([use(at(1), tokens=(80_000_000, 0, 40_000_000))])
    drafts = await asyncio.gather(*(bank.draft("2025-01") for _ in range(3)))
    assert len({draft.id for draft in drafts}) == 1
    issued = await asyncio.gather(*(bank.issue(drafts[0].id) for _ in range(3)))
    assert len({each.number for each in issued}) == 1
    paid = await asyncio.gather(*(bank.pay(issued[0].id, 38_160_000) for _ in range(3)))
    assert len({each.id for each in paid}) == 1
    notes = await asyncio.gather(*(credit(bank, issued[0].id, (2, CENT)) for _ in range(3)))
    assert len({each.number for each in notes}) == 1
    assert (await bank.balances())["cash"] == 38_160_000 * 10**6


async def test_no_payment_is_above_what_is_open_or_below_the_smallest_unit(bank: Any, invoice: Any) -> None:
    with pytest.raises(AboveWhatIsLeft, match="38160000"):
        await bank.pay(invoice.id, 38_170_000)
    with pytest.raises(NotAWholeAmount):
        await bank.pay(invoice.id, CENT + 1)


async def test_a_draft_is_neither_paid_nor_credited(bank: Any) -> None:
    draft = await bank.draft("2025-01")
    with pytest.raises(WrongInvoiceStatus):
        await bank.pay(draft.id, CENT)
    with pytest.raises(WrongInvoiceStatus):
        await credit(bank, draft.id)


async def test_a_credit_note_takes_back_the_whole_invoice_to_the_last_cent(bank: Any, invoice: Any) -> None:
    note = await credit(bank, invoice.id)
    assert (note.kind, note.number, note.refers_to) == ("credit_note", f"CN-{now():%Y}-000001", invoice.id)
    assert (note.total_micros, note.tax_micros) == (-38_160_000, -2_160_000)
    assert await status_of(bank, invoice.id) == "paid"
    balances = await bank.balances()
    assert {name: balances.get(name) for name in ("receivable", "tax", "revenue")} == dict.fromkeys(
        ("receivable", "tax", "revenue")
    )
    with pytest.raises(AboveWhatIsLeft):
        await credit(bank, invoice.id, reference="case 2")


async def test_lines_are_credited_in_part_and_never_above_what_is_left(bank: Any, invoice: Any) -> None:
    note = await credit(bank, invoice.id, (1, 1_010_000))
    assert [(line.refers_to_line, line.amount_micros, line.tax_micros) for line in note.lines] == [
        (1, -1_010_000, -60_000)
    ]
    with pytest.raises(AboveWhatIsLeft, match="10990000"):
        await credit(bank, invoice.id, (1, 11_000_000), reference="case 2")
    rest = await credit(bank, invoice.id, (1, None), (2, CENT), reference="case 2")
    assert [(line.refers_to_line, line.amount_micros, line.tax_micros) for line in rest.lines] == [
        (1, -10_990_000, -660_000),
        (2, -CENT, 0),
    ]
    with pytest.raises(LineNotFound):
        await credit(bank, invoice.id, (3, None), reference="case 3")
    left = 38_160_000 + note.total_micros + rest.total_micros
    assert (await bank.pay(invoice.id, left)).open_micros == 0


async def test_a_credit_sent_twice_is_given_once(bank: Any, invoice: Any) -> None:
    first = await credit(bank, invoice.id, (2, CENT))
    again = await credit(bank, invoice.id, (2, CENT))
    assert (again.id, again.number, again.total_micros) == (first.id, first.number, first.total_micros)
    with pytest.raises(ReferenceUsed):
        await credit(bank, invoice.id, (2, 2 * CENT))
    with pytest.raises(ReferenceUsed):
        await credit(bank, invoice.id, (1, None))


async def test_a_credit_note_is_not_credited(bank: Any, invoice: Any) -> None:
    note = await credit(bank, invoice.id, (2, CENT))
    with pytest.raises(WrongInvoiceStatus):
        await credit(bank, note.id, reference="case 2")


async def test_what_a_prepaid_tenant_paid_in_covers_its_usage_its_fees_and_its_tax(
    open_bank: Any, use: Any, at: Any
) -> None:
    bank = await open_bank("bank-p", payment="prepaid")
    await top_up(bank, 100_000_000)
    once = use(at(1), tokens=(80_000_000, 0, 40_000_000))
    await bank.record([once])
    invoice = await bank.issued("2025-01")
    assert (invoice.status, invoice.prepaid, invoice.total_micros) == ("paid", True, 38_160_000)
    balances, account = await bank.balances(), await bank.account()
    assert balances["prepaid"] == -61_840_000 * 10**6
    assert account["funded"] - account["posted"] == -balances["prepaid"]
    assert "receivable" not in balances
    await credit(bank, invoice.id)
    balances, account = await bank.balances(), await bank.account()
    assert balances["prepaid"] == -100_000_000 * 10**6
    assert account["funded"] - account["posted"] == -balances["prepaid"]


async def test_a_payment_in_advance_sent_twice_is_booked_once(open_bank: Any, bank: Any) -> None:
    prepaid = await open_bank("bank-p", payment="prepaid")
    first = await top_up(prepaid, 50_000_000)
    assert await top_up(prepaid, 50_000_000) == first
    assert await prepaid.account() == {"posted": 0, "funded": 50_000_000 * 10**6}
    assert await prepaid.balances() == {"cash": 50_000_000 * 10**6, "prepaid": -50_000_000 * 10**6}
    with pytest.raises(NotPrepaid):
        await top_up(bank, 50_000_000)


async def test_an_invoice_over_more_than_a_prepaid_tenant_paid_in_waits_for_its_next_payment(
    open_bank: Any, use: Any, at: Any
) -> None:
    bank = await open_bank("bank-p", payment="prepaid")
    await top_up(bank, 36_000_000)
    await bank.record([use(at(1), tokens=(80_000_000, 0, 40_000_000))])
    draft = await bank.draft("2025-01")
    with pytest.raises(InvoiceNotReady, match="only 36000000 are left"):
        await bank.issue(draft.id)
    await top_up(bank, 3_000_000, "transfer 2")
    assert (await bank.issue(draft.id)).status == "paid"
    account = await bank.account()
    assert account["funded"] - account["posted"] == 840_000 * 10**6
