"""Comparisons of invoices with their usage, with their own lines, and with their export.

All functions compute on values and read no table.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal

from finpool.billing.focus.csv import focus_csv
from finpool.billing.focus.rows import decimal_of_micros, focus_rows
from finpool.billing.invoice.lines import Charge
from finpool.billing.invoice.schemas import InvoiceLineView, InvoiceView, LineKind
from finpool.billing.invoice.service import FEES
from finpool.billing.reconciliation.schemas import Difference, Stage
from finpool.billing.rounding import minor_unit_micros, rounded, tax_of
from finpool.kernel.money import PICOS_PER_MICRO

_TAX = "Tax"

_Key = tuple[object, ...]


def usage_and_lines(invoice: InvoiceView, charges: Iterable[Charge]) -> list[Difference]:
    """Compare the charges computed from usage with the invoice's lines; fees are left out."""
    wanted, tokens_wanted = _sums((_charge_key(each), each.amount_picos, each.quantity_tokens) for each in charges)
    lines = [line for line in invoice.lines if line.kind not in FEES]
    found, tokens_found = _sums((_line_key(each), each.amount_picos, each.quantity_tokens) for each in lines)
    return [
        _difference(
            invoice,
            Stage.USAGE,
            Stage.INVOICE,
            _named(key),
            f"{tokens_wanted[key]} tokens, {wanted[key]} picos",
            f"{tokens_found[key]} tokens, {found[key]} picos",
        )
        for key in dict.fromkeys([*wanted, *found])
        if (wanted[key], tokens_wanted[key]) != (found[key], tokens_found[key])
    ]


def lines_and_total(invoice: InvoiceView) -> list[Difference]:
    """Check that each line is its exact amount rounded once, with its tax, and that the lines sum to the invoice."""
    found = []
    unit = minor_unit_micros(invoice.currency)
    for line in invoice.lines:
        amount = rounded(line.amount_picos, unit * PICOS_PER_MICRO) // PICOS_PER_MICRO
        exact = (line.quantity_tokens or 0) * (line.unit_picos or 0)
        if amount != line.amount_micros:
            found.append((f"line {line.line_no}: amount in micros", amount, line.amount_micros))
        # The tax of a credit may be the rest of the line's tax, so it is not checked.
        if line.kind is not LineKind.CREDIT and tax_of(amount, line.tax_basis_points, unit) != line.tax_micros:
            wanted = tax_of(amount, line.tax_basis_points, unit)
            found.append((f"line {line.line_no}: tax in micros", wanted, line.tax_micros))
        if line.token_kind is not None and exact != line.amount_picos:
            found.append((f"line {line.line_no}: tokens at their price", exact, line.amount_picos))
    net, tax = sum(each.amount_micros for each in invoice.lines), sum(each.tax_micros for each in invoice.lines)
    sums = (
        ("net in micros", net, invoice.net_micros),
        ("tax in micros", tax, invoice.tax_micros),
        ("total in micros", net + tax, invoice.total_micros),
    )
    found += [each for each in sums if each[1] != each[2]]
    return [
        _difference(invoice, Stage.INVOICE, Stage.INVOICE, what, str(wanted), str(is_)) for what, wanted, is_ in found
    ]


def invoice_and_export(invoice: InvoiceView, exported: bytes) -> list[Difference]:
    """Compare an invoice with its rows in a FOCUS file (CSV), read as a customer would read it."""
    rows = [row for row in csv.DictReader(io.StringIO(exported.decode())) if row["InvoiceId"] == invoice.number]
    billed = sum((Decimal(row["BilledCost"]) for row in rows), Decimal())
    tokens = sum((Decimal(row["ConsumedQuantity"]) for row in rows if row["ConsumedQuantity"]), Decimal())
    by_line: Counter[str] = Counter()
    for row in rows:
        if row["ChargeCategory"] != _TAX:
            by_line[row["x_InvoiceLine"]] += 1
    compared = [
        ("total", decimal_of_micros(invoice.total_micros), billed),
        ("tokens", Decimal(sum(line.quantity_tokens or 0 for line in invoice.lines)), tokens),
        *((f"rows of line {line.line_no}", Decimal(1), Decimal(by_line[str(line.line_no)])) for line in invoice.lines),
    ]
    return [
        _difference(invoice, Stage.INVOICE, Stage.EXPORT, what, f"{wanted:f}", f"{found:f}")
        for what, wanted, found in compared
        if wanted != found
    ]


def exported_micros(invoice: InvoiceView, exported: bytes) -> int:
    """Return the billed cost of an invoice's rows in a FOCUS file (CSV), in micros."""
    rows = csv.DictReader(io.StringIO(exported.decode()))
    billed = sum((Decimal(row["BilledCost"]) for row in rows if row["InvoiceId"] == invoice.number), Decimal())
    return int(billed.scaleb(6))


def export_of(invoice: InvoiceView, project_names: Mapping[str, str]) -> bytes:
    """Return an invoice's FOCUS file, as tenants get it."""
    return focus_csv(focus_rows(invoice, project_names))


def _sums(parts: Iterable[tuple[_Key, int, int | None]]) -> tuple[Counter[_Key], Counter[_Key]]:
    amounts: Counter[_Key] = Counter()
    tokens: Counter[_Key] = Counter()
    for key, amount, quantity in parts:
        amounts[key] += amount
        tokens[key] += quantity or 0
    return amounts, tokens


def _charge_key(charge: Charge) -> _Key:
    return (
        charge.kind,
        charge.month,
        charge.correction,
        charge.project_id,
        charge.model_id,
        charge.price_version,
        charge.tier,
        charge.token_kind,
        charge.reference,
    )


def _line_key(line: InvoiceLineView) -> _Key:
    return (
        line.kind,
        line.charge_start,
        line.correction,
        line.project_id,
        line.model_id,
        line.price_version,
        line.tier,
        line.token_kind,
        line.reference,
    )


def _named(key: _Key) -> str:
    kind, month, correction, *rest = key
    words = [str(kind), f"{month:%Y-%m}", "correction" if correction else "", *(str(each) for each in rest if each)]
    return " ".join(word for word in words if word)


def _difference(
    invoice: InvoiceView, left: Stage, right: Stage, what: str, left_value: str, right_value: str
) -> Difference:
    return Difference(
        tenant_id=invoice.tenant_id,
        left=left,
        right=right,
        subject=f"{invoice.number}: {what}",
        left_value=left_value,
        right_value=right_value,
    )
