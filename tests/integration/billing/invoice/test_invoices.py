"""Invoices over real usage: each record is in one, they add up, and they are numbered without gaps."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from finpool.billing.errors import InvoiceNotFound, InvoiceNotReady, PeriodNotInvoiceable, UsageDoesNotAddUp
from finpool.billing.invoice.lines import BillingTerms
from finpool.kernel.clock import now

YEN = BillingTerms(currency="JPY", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=0)


def exact(invoice: Any) -> int:
    return sum(line.amount_picos for line in invoice.lines)


async def audited(bank: Any) -> list[str]:
    async with bank.open_as("worker").across_tenants() as session:
        return list((await session.execute(text("SELECT kind FROM audit_outbox ORDER BY outbox_id"))).scalars())


async def test_late_usage_goes_to_the_next_invoice_as_a_correction(bank: Any, use: Any, at: Any) -> None:
    in_january = [use(at(1)), use(at(1, 20), model="model-y", project="treasury")]
    await bank.record([*in_january, use(at(2))])
    january = await bank.issued("2025-01")
    assert (january.number, january.status) == (f"INV-bank-a-{now():%Y}-000001", "issued")
    assert {line.correction for line in january.lines} == {False}
    assert exact(january) == sum(each.cost_picos for each in in_january)
    await bank.record([use(at(1, 31), tokens=(10, 0, 0)), use(at(2, 2))])
    february = await bank.issued("2025-02")
    late = [line for line in february.lines if line.correction]
    assert [(line.quantity_tokens, line.token_kind, line.charge_start.month) for line in late] == [(10, "input", 1)]
    assert [(line.token_kind, line.quantity_tokens) for line in february.lines if not line.correction] == [
        ("input", 120_000_000),
        ("cached_input", 80_000_000),
        ("output", 40_000_000),
    ]
    assert (february.period_start, february.period_end) == (january.period_end, datetime(2025, 3, 1, tzinfo=UTC))
    assert february.previous_cut_seq == january.cut_seq


async def test_a_line_is_of_one_project_model_token_kind_price_version_and_tier(bank: Any, use: Any, at: Any) -> None:
    await bank.record(
        [
            use(at(1)),
            use(at(1, 11)),
            use(at(1), project="treasury"),
            use(at(1), model="model-y"),
            use(at(1), tier="batch"),
        ]
    )
    invoice = await bank.draft("2025-01")
    named = [(line.project_id, line.model_id, line.price_version, line.tier, line.token_kind) for line in invoice.lines]
    assert len(named) == len(set(named)) == 4 * 3
    assert [line.line_no for line in invoice.lines] == list(range(1, 13))


async def test_each_line_is_rounded_once_and_its_tax_once(bank: Any, use: Any, at: Any) -> None:
    await bank.record([use(at(1), tokens=(100_050_000, 0, 1))])
    invoice = await bank.draft("2025-01")
    shown = [(line.amount_picos, line.amount_micros, line.tax_micros) for line in invoice.lines]
    assert shown == [(15_007_500_000_000, 15_010_000, 900_000), (600_000, 0, 0)]
    assert (invoice.net_micros, invoice.tax_micros, invoice.total_micros) == (15_010_000, 900_000, 15_910_000)


async def test_failed_requests_cost_nothing_and_estimated_ones_are_billed(bank: Any, use: Any, at: Any) -> None:
    crashed = use(at(1), outcome="crashed")
    await bank.record([use(at(1), outcome="failed"), crashed])
    assert exact(await bank.draft("2025-01")) == crashed.cost_picos


async def test_a_draft_is_made_again_with_what_came_since_and_keeps_its_id(bank: Any, use: Any, at: Any) -> None:
    await bank.record([use(at(1))])
    first = await bank.draft("2025-01")
    await bank.record([use(at(1)), use(at(2))])
    assert exact(await bank.draft("2025-01")) == 2 * exact(first)
    longer = await bank.draft("2025-02")
    assert (longer.id, longer.number, longer.period_end) == (first.id, None, datetime(2025, 3, 1, tzinfo=UTC))
    assert exact(longer) == 3 * exact(first)
    assert {line.charge_start.month for line in longer.lines} == {1, 2}


async def test_the_first_invoice_begins_with_the_tenant_or_its_first_usage(
    open_bank: Any, bank: Any, use: Any, at: Any
) -> None:
    assert (await bank.draft("2025-01")).period_start == datetime(2024, 12, 1, tzinfo=UTC)
    other = await open_bank("bank-b", created_at=at(3))
    assert (await other.draft("2025-03")).period_start == datetime(2025, 3, 1, tzinfo=UTC)
    await other.record([use(at(2))])
    assert (await other.draft("2025-03")).period_start == datetime(2025, 2, 1, tzinfo=UTC)


async def test_a_month_that_was_invoiced_or_has_not_begun_is_refused(bank: Any, use: Any, at: Any) -> None:
    await bank.record([use(at(1))])
    await bank.issued("2025-02")
    with pytest.raises(PeriodNotInvoiceable, match="invoiced already"):
        await bank.draft("2025-01")
    with pytest.raises(PeriodNotInvoiceable, match="not begun"):
        await bank.draft("2099-01")


async def test_what_was_drafted_before_its_period_ended_is_not_issued(bank: Any) -> None:
    draft = await bank.draft(f"{now():%Y-%m}")
    with pytest.raises(InvoiceNotReady):
        await bank.issue(draft.id)
    with pytest.raises(InvoiceNotFound):
        await bank.issue("inv_unknown")


async def test_issuing_twice_books_and_numbers_once(bank: Any, use: Any, at: Any) -> None:
    await bank.record([use(at(1))])
    draft = await bank.draft("2025-01")
    first = await bank.issue(draft.id)
    after_first = await bank.balances()
    assert await bank.issue(draft.id) == first
    assert await bank.balances() == after_first
    assert (await audited(bank)).count("invoice.issued") == 1


async def test_an_issued_invoice_moves_usage_to_what_is_owed(bank: Any, use: Any, at: Any) -> None:
    once = use(at(1), tokens=(100_050_001, 0, 0))
    await bank.record([once])
    invoice = await bank.issued("2025-01")
    owed, tax = invoice.total_micros * 10**6, invoice.tax_micros * 10**6
    assert await bank.balances() == {
        "revenue": -once.cost_picos,
        "receivable": owed,
        "tax": -tax,
        "rounding": once.cost_picos + tax - owed,
    }


async def test_an_invoice_of_nothing_is_paid_at_once(bank: Any) -> None:
    invoice = await bank.issued("2025-01")
    assert (invoice.status, invoice.total_micros, invoice.lines) == ("paid", 0, ())
    assert await bank.balances() == {}


async def test_numbers_have_no_gaps_even_if_issuing_fails_or_many_issue_at_once(
    open_bank: Any, bank: Any, use: Any, at: Any
) -> None:
    banks = [bank, *[await open_bank(f"bank-{name}") for name in "bcd"]]
    drafts = []
    for each in banks:
        await each.record([use(at(1))])
        drafts.append((await each.draft("2025-01")).id)
    async with bank.operator() as session:
        await session.execute(
            text("UPDATE invoice SET net_micros = 1, total_micros = 1 + tax_micros WHERE tenant_id = 'bank-a'")
        )
    results = await asyncio.gather(
        *(each.issue(draft) for each, draft in zip(banks, drafts, strict=True)), return_exceptions=True
    )
    assert isinstance(results[0], Exception)
    assert "do not add up" in str(results[0])
    await bank.draft("2025-01")
    issued = [*results[1:], await bank.issue(drafts[0])]
    assert {each.number for each in issued} == {f"INV-bank-{name}-{now():%Y}-000001" for name in "abcd"}


async def test_usage_and_prices_that_disagree_make_no_invoice(bank: Any, use: Any, at: Any) -> None:
    ids = await bank.record([use(at(1), fields={"cost_picos": 7})])
    with pytest.raises(UsageDoesNotAddUp, match="7 picos"):
        await bank.draft("2025-01")
    assert ids
    async with bank.operator() as session:
        assert (await session.execute(text("SELECT count(*) FROM invoice"))).scalar_one() == 0


async def test_usage_at_an_unknown_price_or_in_another_currency_makes_no_invoice(bank: Any, use: Any, at: Any) -> None:
    await bank.record([use(at(1))])
    with pytest.raises(UsageDoesNotAddUp, match="EUR"):
        await bank.draft("2025-01", YEN)
    await bank.record([use(at(1), fields={"price_version": "model-x@gone"})])
    with pytest.raises(UsageDoesNotAddUp, match="model-x@gone"):
        await bank.draft("2025-01")


async def test_corrections_lost_leases_and_credits_are_lines_of_the_month_they_were_recorded_in(
    bank: Any, use: Any, at: Any
) -> None:
    crashed = use(at(1), outcome="crashed", tier="batch")
    (request,) = await bank.record([crashed])
    january = await bank.issued("2025-01")
    corrected = {
        "kind": "correction",
        "request_id": request,
        "project_id": "credit",
        "model_id": "model-x",
        "price_version": january.lines[0].price_version,
        "output_tokens": -10,
        "recorded_at": at(2),
    }
    await bank.adjust(-10 * 600_000, **corrected)
    lease = await bank.adjust(5 * 10**12, recorded_at=at(2))
    credit = await bank.adjust(-(10**12), kind="dispute", request_id=request, recorded_at=at(2))
    february = await bank.issued("2025-02")
    assert {line.correction for line in february.lines} == {True}
    assert {line.charge_start.month for line in february.lines} == {2}
    shown = [
        (line.kind, line.tier, line.quantity_tokens, line.reference, line.amount_micros) for line in february.lines
    ]
    assert shown == [
        ("usage", "batch", -10, None, 0),
        ("lease_charge", None, None, lease, 5_000_000),
        ("credit", None, None, credit, -1_000_000),
    ]
    assert (await bank.balances()).get("unbilled") is None


async def test_tokens_of_a_failed_request_cost_nothing_even_when_they_are_corrected(
    bank: Any, use: Any, at: Any
) -> None:
    failed = use(at(1), outcome="failed")
    (request,) = await bank.record([failed])
    named = {"request_id": request, "project_id": "credit", "model_id": "model-x", "price_version": "model-x@any"}
    await bank.adjust(0, kind="correction", output_tokens=-10, recorded_at=at(1), **named)
    assert (await bank.draft("2025-01")).lines == ()


async def test_drafting_does_not_wait_for_the_account_and_leaves_what_is_being_recorded_to_the_next(
    bank: Any, use: Any, at: Any
) -> None:
    await bank.record([use(at(1))])
    async with bank.operator() as session:
        # A recorder in the middle of its transaction: the number is taken, nothing is committed.
        taken = "UPDATE account SET usage_seq = usage_seq + 1 WHERE tenant_id = :id RETURNING usage_seq"
        seq = (await session.execute(text(taken), {"id": bank.tenant_id})).scalar_one()
        async with asyncio.timeout(60):
            draft = await bank.draft("2025-01")
    assert (draft.cut_seq, seq) == (1, 2)
    assert exact(draft) == use(at(1)).cost_picos


async def test_a_month_before_the_tenants_first_is_not_invoiced(bank: Any, use: Any, at: Any) -> None:
    with pytest.raises(PeriodNotInvoiceable, match="before the tenant's first month, 2024-12"):
        await bank.draft("2024-11")
    await bank.record([use(datetime(2024, 10, 31, 23, 59, tzinfo=UTC))])
    with pytest.raises(PeriodNotInvoiceable, match="2024-10"):
        await bank.draft("2024-09")
    assert (await bank.draft("2024-11")).period_start == datetime(2024, 10, 1, tzinfo=UTC)
