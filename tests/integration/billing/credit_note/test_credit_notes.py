"""Credit notes: they take back an invoice in whole or in part, each once, and never more than is left."""

from typing import Any

import pytest
from billing_doors import BANKS, Doors

from finpool.billing.errors import AboveWhatIsLeft, LineNotFound, ReferenceUsed, WrongInvoiceStatus
from finpool.kernel.clock import now

CENT = 10_000


async def test_a_credit_note_takes_back_the_whole_invoice_to_the_last_cent(bank: Any, invoice: Any) -> None:
    note = await bank.credit(invoice.id)
    assert (note.kind, note.number, note.refers_to) == ("credit_note", f"CN-bank-a-{now():%Y}-000001", invoice.id)
    assert (note.total_micros, note.tax_micros) == (-38_160_000, -2_160_000)
    assert await bank.status_of(invoice.id) == "paid"
    balances = await bank.balances()
    assert {name: balances.get(name) for name in ("receivable", "tax", "revenue")} == dict.fromkeys(
        ("receivable", "tax", "revenue")
    )
    with pytest.raises(AboveWhatIsLeft):
        await bank.credit(invoice.id, reference="case 2")


async def test_lines_are_credited_in_part_and_never_above_what_is_left(bank: Any, invoice: Any) -> None:
    note = await bank.credit(invoice.id, (1, 1_010_000))
    assert [(line.refers_to_line, line.amount_micros, line.tax_micros) for line in note.lines] == [
        (1, -1_010_000, -60_000)
    ]
    with pytest.raises(AboveWhatIsLeft, match="10990000"):
        await bank.credit(invoice.id, (1, 11_000_000), reference="case 2")
    rest = await bank.credit(invoice.id, (1, None), (2, CENT), reference="case 2")
    assert [(line.refers_to_line, line.amount_micros, line.tax_micros) for line in rest.lines] == [
        (1, -10_990_000, -660_000),
        (2, -CENT, 0),
    ]
    with pytest.raises(LineNotFound):
        await bank.credit(invoice.id, (3, None), reference="case 3")
    left = 38_160_000 + note.total_micros + rest.total_micros
    assert (await bank.pay(invoice.id, left)).open_micros == 0


async def test_a_credit_sent_twice_is_given_once(bank: Any, invoice: Any) -> None:
    first = await bank.credit(invoice.id, (2, CENT))
    again = await bank.credit(invoice.id, (2, CENT))
    assert (again.id, again.number, again.total_micros) == (first.id, first.number, first.total_micros)
    with pytest.raises(ReferenceUsed):
        await bank.credit(invoice.id, (2, 2 * CENT))
    with pytest.raises(ReferenceUsed):
        await bank.credit(invoice.id, (1, None))


async def test_a_credit_note_is_not_credited(bank: Any, invoice: Any) -> None:
    note = await bank.credit(invoice.id, (2, CENT))
    with pytest.raises(WrongInvoiceStatus):
        await bank.credit(note.id, reference="case 2")


async def test_a_credit_note_that_names_a_line_twice_is_refused_and_credits_nothing(doors: Doors, invoice: Any) -> None:
    lines = [{"line_no": 2, "amount_micros": CENT}, {"line_no": 1}, {"line_no": 2, "amount_micros": CENT}]
    body = {"reference": "case 1", "reason": "agreed", "lines": lines}
    refused = await doors.operator.post(f"{BANKS}/invoices/{invoice.id}/credit-notes", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "lines")
    assert "must not name line 2 twice" in refused.json()["error"]["message"]
    once = await doors.operator.post(f"{BANKS}/invoices/{invoice.id}/credit-notes", json={**body, "lines": lines[:2]})
    assert once.json()["refers_to_number"] == invoice.number
    assert [line["refers_to_line"] for line in once.json()["lines"]] == [1, 2]
