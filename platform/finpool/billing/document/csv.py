"""An invoice as CSV: one record per line, amounts as exact decimals."""

from decimal import Decimal

from finpool.billing.csv_table import CsvValue, csv_table
from finpool.billing.focus.rows import decimal_of_micros, decimal_of_picos
from finpool.billing.invoice.schemas import InvoiceLineView, InvoiceView

COLUMNS = (
    "document",
    "number",
    "currency",
    "line",
    "kind",
    "correction",
    "charge_start",
    "charge_end",
    "project",
    "model",
    "price_version",
    "tier",
    "token_kind",
    "tokens",
    "price_per_million_tokens",
    "exact_amount",
    "rounding",
    "amount",
    "tax_percent",
    "tax",
    "refers_to",
    "refers_to_line",
    "reference",
)


def invoice_csv(invoice: InvoiceView) -> bytes:
    """Return an invoice's lines as CSV (UTF-8) with a header."""
    return csv_table(COLUMNS, (_values(invoice, line) for line in invoice.lines))


def _values(invoice: InvoiceView, line: InvoiceLineView) -> tuple[CsvValue, ...]:
    return (
        invoice.kind,
        invoice.number,
        invoice.currency,
        line.line_no,
        line.kind,
        "yes" if line.correction else "no",
        line.charge_start,
        line.charge_end,
        line.project_id,
        line.model_id,
        line.price_version,
        line.tier,
        line.token_kind,
        line.quantity_tokens,
        None if line.unit_picos is None else decimal_of_micros(line.unit_picos),
        decimal_of_picos(line.amount_picos),
        decimal_of_micros(line.amount_micros) - decimal_of_picos(line.amount_picos),
        decimal_of_micros(line.amount_micros),
        Decimal(line.tax_basis_points).scaleb(-2),
        decimal_of_micros(line.tax_micros),
        invoice.refers_to_number,
        line.refers_to_line,
        line.reference,
    )
