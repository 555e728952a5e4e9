"""The arithmetic of invoices: exact until a line is rounded, once."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.billing.errors import AboveWhatIsLeft, NotAWholeAmount, UsageDoesNotAddUp
from finpool.billing.invoice.lines import (
    BillingTerms,
    Charge,
    Charged,
    Credited,
    UnitPrices,
    UsageSum,
    commitment_charge,
    credit_of,
    invoice_line,
    membership_charge,
    usage_charges,
)
from finpool.billing.invoice.schemas import LineKind, TokenKind
from finpool.billing.models import InvoiceLine
from finpool.billing.rounding import minor_unit_micros, rounded, tax_of

MONTH = datetime(2026, 1, 1, tzinfo=UTC)
CENT = 10_000
PRICES = {"m@1": UnitPrices(150, 30, 600)}

amounts = st.integers(-(10**24), 10**24)
units = st.sampled_from([1, 100, 1000, CENT, 10**6])
basis_points = st.integers(0, 10_000)


def line_of(charge: Charge, tax_basis_points: int = 0, currency: str = "CNY") -> InvoiceLine:
    terms = BillingTerms(currency, "Pool", "VAT", tax_basis_points)
    return invoice_line(charge, tenant_id="bank-a", invoice_id="inv_1", line_no=1, terms=terms)


def used(**fields: Any) -> UsageSum:
    plain: dict[str, Any] = {
        "month": MONTH,
        "correction": False,
        "project_id": "credit",
        "model_id": "m",
        "price_version": "m@1",
        "tier": "standard",
        "input_tokens": 10,
        "cached_input_tokens": 4,
        "output_tokens": 5,
        "cost_picos": 6 * 150 + 4 * 30 + 5 * 600,
    }
    return UsageSum(**(plain | fields))


@given(amounts, units)
def test_rounding_takes_the_nearest_multiple_and_never_more_than_half_a_unit(amount: int, unit: int) -> None:
    result = rounded(amount, unit)
    assert result % unit == 0
    assert 2 * abs(result - amount) <= unit


@given(amounts, units)
def test_rounding_does_not_depend_on_the_sign_so_a_credit_cancels_its_charge(amount: int, unit: int) -> None:
    assert rounded(-amount, unit) == -rounded(amount, unit)


@pytest.mark.parametrize(
    ("amount", "expected"), [(4_999, 0), (5_000, CENT), (15_000, 2 * CENT), (25_000, 3 * CENT), (-5_000, -CENT)]
)
def test_half_a_minor_unit_goes_away_from_zero(amount: int, expected: int) -> None:
    assert rounded(amount, CENT) == expected


@pytest.mark.parametrize(("currency", "micros"), [("CNY", CENT), ("EUR", CENT), ("JPY", 10**6), ("KWD", 1000)])
def test_amounts_are_rounded_to_the_currencys_own_minor_unit(currency: str, micros: int) -> None:
    assert minor_unit_micros(currency) == micros
    line = line_of(Charge(LineKind.USAGE, MONTH, 123_456_789_012_345_678), currency=currency)
    assert line.amount_micros % micros == 0


@given(st.integers(-(10**15), 10**15), basis_points, units)
def test_tax_is_the_rounded_share_of_the_rounded_amount(amount: int, points: int, unit: int) -> None:
    assert abs(tax_of(amount, points, unit) * 10_000 - amount * points) * 2 <= unit * 10_000


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_lines_of_a_sum_cost_exactly_what_was_recorded(fresh: int, cached: int, output: int) -> None:
    cost = fresh * 150 + cached * 30 + output * 600
    total = used(input_tokens=fresh + cached, cached_input_tokens=cached, output_tokens=output, cost_picos=cost)
    charges = usage_charges([total], PRICES)
    assert sum(charge.amount_picos for charge in charges) == cost
    quantities = {charge.token_kind: charge.quantity_tokens for charge in charges}
    named = {TokenKind.INPUT: fresh, TokenKind.CACHED_INPUT: cached, TokenKind.OUTPUT: output}
    assert quantities == {kind: count for kind, count in named.items() if count}


def test_usage_whose_cost_is_not_that_of_its_tokens_is_refused() -> None:
    with pytest.raises(UsageDoesNotAddUp, match="m by project credit in 2026-01"):
        usage_charges([used(cost_picos=used().cost_picos + 1)], PRICES)


def test_usage_at_a_price_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageDoesNotAddUp, match="m@2"):
        usage_charges([used(price_version="m@2")], PRICES)


@given(st.lists(st.integers(-(10**14), 10**15), min_size=1, max_size=8), st.integers(0, 10**15))
def test_however_late_usage_comes_a_month_is_charged_what_it_is_below_its_commitment(
    parts: list[int], committed: int
) -> None:
    before = Charged()
    for number, part in enumerate(parts):
        charge = commitment_charge(MONTH, committed, before, part, correction=number > 0)
        added = charge.amount_picos if charge else 0
        before = Charged(before.usage_picos + part, before.commitment_picos + added)
        assert before.commitment_picos == min(committed, max(0, committed - before.usage_picos))


def test_a_fee_is_charged_once_and_then_only_what_changed_of_it() -> None:
    first = membership_charge(MONTH, 100, Charged(), correction=False)
    assert first is not None
    assert (first.kind, first.amount_picos) == (LineKind.MEMBERSHIP, 100)
    assert membership_charge(MONTH, 100, Charged(membership_picos=100), correction=True) is None
    lowered = membership_charge(MONTH, 70, Charged(membership_picos=100), correction=True)
    assert lowered is not None
    assert lowered.amount_picos == -30


@given(st.integers(-(10**9), 10**9), basis_points, st.lists(st.integers(1, 10**6), max_size=6))
def test_credits_of_a_line_never_pass_it_and_the_last_one_leaves_nothing(
    cents: int, points: int, asked: list[int]
) -> None:
    line = line_of(Charge(LineKind.USAGE, MONTH, cents * CENT * 10**6), points)
    so_far = Credited()
    for each in asked:
        try:
            credit = credit_of(line, so_far, each * CENT, CENT)
        except AboveWhatIsLeft:
            continue
        so_far = Credited(so_far.net_micros + credit.net_micros, so_far.tax_micros + credit.tax_micros)
        assert 0 <= so_far.net_micros <= line.amount_micros
        assert 0 <= so_far.tax_micros <= line.tax_micros
    last = credit_of(line, so_far, None, CENT)
    assert so_far.net_micros + last.net_micros == line.amount_micros
    assert so_far.tax_micros + last.tax_micros == line.tax_micros


def test_a_credit_that_cannot_be_paid_in_the_smallest_unit_is_refused() -> None:
    with pytest.raises(NotAWholeAmount):
        credit_of(line_of(Charge(LineKind.USAGE, MONTH, 10**15)), Credited(), CENT + 1, CENT)
