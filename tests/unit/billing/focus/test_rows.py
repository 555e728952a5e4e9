"""FOCUS rows of an invoice: the value of each column, and a sum that equals the invoice."""

from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finpool.billing.focus.rows import COLUMNS, focus_rows
from finpool.billing.invoice.schemas import InvoiceView


def test_each_line_is_a_row_and_so_is_the_tax_on_it(invoice: InvoiceView) -> None:
    rows = list(focus_rows(invoice, {"credit": "Credit"}))
    assert sum(row["BilledCost"] for row in rows) == Decimal(invoice.total_micros).scaleb(-6)  # type: ignore[misc]
    taxed = [line.line_no for line in invoice.lines if line.tax_micros]
    assert [row["x_InvoiceLine"] for row in rows if row["ChargeCategory"] == "Tax"] == [str(each) for each in taxed]
    assert len(rows) == len(invoice.lines) + len(taxed)
    assert all(tuple(row) == COLUMNS for row in rows)


def test_tokens_are_consumed_and_millions_of_them_are_priced(invoice: InvoiceView) -> None:
    row = next(focus_rows(invoice, {"credit": "Credit"}))
    expected = {
        "BillingAccountId": "bank-a",
        "SubAccountId": "credit",
        "SubAccountName": "Credit",
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "SkuMeter": "Input Tokens",
        "SkuPriceId": "fin-7b@0123456789ab/input",
        "ConsumedQuantity": Decimal(1_234_567),
        "ConsumedUnit": "Tokens",
        "PricingQuantity": Decimal("1.234567"),
        "PricingUnit": "1000000 Tokens",
        "ContractedUnitPrice": Decimal(2),
        "ContractedCost": Decimal("2.469134"),
        "BilledCost": Decimal("2.47"),
    }
    assert {name: row[name] for name in expected} == expected


def test_corrections_and_credits_have_the_class_correction(invoice: InvoiceView, credit_note: InvoiceView) -> None:
    classes = {row["x_InvoiceLine"]: row["ChargeClass"] for row in focus_rows(invoice, {})}
    assert [number for number, value in classes.items() if value == "Correction"] == ["4", "7"]
    rows = list(focus_rows(credit_note, {}))
    assert {(row["ChargeCategory"], row["ChargeClass"]) for row in rows} == {
        ("Credit", "Correction"),
        ("Tax", "Correction"),
    }
    joined = {(row["x_RefersToInvoice"], row["x_RefersToInvoiceLine"]) for row in rows}
    assert joined == {(invoice.number, str(invoice.lines[0].line_no))}


def test_minimum_and_membership_are_recurring_purchases(invoice: InvoiceView) -> None:
    purchases = [row for row in focus_rows(invoice, {}) if row["ChargeCategory"] == "Purchase"]
    assert [(row["ServiceName"], row["ChargeFrequency"], row["BilledCost"]) for row in purchases] == [
        ("Minimum commitment", "Recurring", Decimal(5)),
        ("Pool membership", "Recurring", Decimal(7)),
    ]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens=st.integers(min_value=0, max_value=10**12), unit_picos=st.integers(min_value=0, max_value=10**9))
def test_price_times_quantity_is_the_exact_cost_however_large(
    invoice: InvoiceView, tokens: int, unit_picos: int
) -> None:
    changed = {"quantity_tokens": tokens, "unit_picos": unit_picos, "amount_picos": tokens * unit_picos}
    line = invoice.lines[0].model_copy(update=changed)
    row = next(focus_rows(invoice.model_copy(update={"lines": (line,)}), {}))
    cost = row["ContractedUnitPrice"] * row["PricingQuantity"]  # type: ignore[operator]
    assert cost == row["ContractedCost"] == Decimal(tokens * unit_picos).scaleb(-12)
