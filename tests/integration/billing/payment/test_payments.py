"""Payments and prepaid accounts: nothing is booked twice, and never more than is left."""

import asyncio
from typing import Any

import pytest

from finpool.billing.errors import (
    AboveWhatIsLeft,
    InvoiceNotReady,
    NotAWholeAmount,
    NotPrepaid,
    ReferenceUsed,
    WrongInvoiceStatus,
)
from finpool.billing.payment import service as payment_service
from finpool.billing.payment.schemas import NewPayment, PaymentView
from finpool.kernel.actor import Actor, Audience, Role

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)

CENT = 10_000


async def top_up(bank: Any, amount_micros: int, reference: str = "transfer 1") -> PaymentView:
    body = NewPayment(amount_micros=amount_micros, reference=reference)
    async with bank.operator() as session:
        return await payment_service.top_up(session, OPERATOR, bank.tenant_id, body, "EUR")


async def test_an_invoice_is_paid_once_nothing_is_open(bank: Any, invoice: Any) -> None:
    first = await bank.pay(invoice.id, 3_160_000, "transfer 1")
    assert (first.open_micros, await bank.status_of(invoice.id)) == (35_000_000, "issued")
    last = await bank.pay(invoice.id, 35_000_000, "transfer 2")
    assert (last.open_micros, await bank.status_of(invoice.id)) == (0, "paid")
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
    notes = await asyncio.gather(*(bank.credit(issued[0].id, (2, CENT)) for _ in range(3)))
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
        await bank.credit(draft.id)


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
    await bank.credit(invoice.id)
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
