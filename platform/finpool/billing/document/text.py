"""The texts of invoices: amounts, periods and kinds of lines."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from finpool.billing.focus.rows import decimal_of_micros, decimal_of_picos
from finpool.billing.invoice.schemas import (
    InvoiceKind,
    InvoiceLineView,
    InvoiceStatus,
    InvoiceSummary,
    InvoiceView,
    LineKind,
    TokenKind,
)
from finpool.billing.rounding import minor_unit_micros

_TOKENS = {
    TokenKind.INPUT: "Input tokens",
    TokenKind.CACHED_INPUT: "Cached input tokens",
    TokenKind.OUTPUT: "Output tokens",
}
_KINDS = {
    LineKind.USAGE: "Usage",
    LineKind.COMMITMENT: "Minimum commitment",
    LineKind.MEMBERSHIP: "Pool membership fee",
    LineKind.LEASE_CHARGE: "Charge of a lost record's lease",
    LineKind.CREDIT: "Credit",
}


def money(amount_micros: int, currency: str) -> str:
    """Return an amount with the currency's own number of decimals and separated thousands: `-1,234.50`."""
    digits = max(0, 7 - len(str(minor_unit_micros(currency))))
    return f"{decimal_of_micros(amount_micros):,.{digits}f}"


def price_per_million(unit_picos: int) -> str:
    """Return the price of a million tokens without trailing zeros; picos per token are micros per million."""
    return without_zeros(decimal_of_micros(unit_picos))


def rounding(invoice: InvoiceView) -> str:
    """Return how an invoice is rounded: the unit, the exact sum, and the difference."""
    unit, exact, difference = (
        f"{without_zeros(amount)} {invoice.currency}"
        for amount in (
            decimal_of_micros(invoice.rounding_unit_micros),
            decimal_of_picos(invoice.exact_picos),
            decimal_of_picos(invoice.rounding_picos),
        )
    )
    return (
        f"Each line is rounded once to {unit}, and so is its tax; sums are not rounded."
        f" The exact lines sum to {exact}; rounding makes {difference}."
    )


def left_out(invoice: InvoiceView) -> str:
    """Return the charges that a draft leaves out, empty if there are none."""
    months = ", ".join(invoice.membership_fees_left_out)
    return f"Not included: the pool membership fee of {months}. The invoice will have it." if months else ""


def without_zeros(amount: Decimal) -> str:
    """Return a decimal with separated thousands and without trailing zeros."""
    shown = f"{amount:,f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def percent(basis_points: int) -> str:
    """Return a rate such as `6 %`."""
    return f"{Decimal(basis_points).scaleb(-2).normalize():f} %"


def day(moment: datetime) -> str:
    """Return the day of a moment in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def last_day(end: datetime) -> str:
    """Return the last day of a period with the exclusive end `end`."""
    return day(end - timedelta(microseconds=1))


def title(invoice: InvoiceSummary) -> str:
    """Return the document's title, such as `Invoice INV-bank-a-2026-000001`."""
    kind = "Credit note" if invoice.kind is InvoiceKind.CREDIT_NOTE else "Invoice"
    return (
        f"{kind} {invoice.number}"
        if invoice.status is not InvoiceStatus.DRAFT
        else f"Draft of an invoice ({invoice.id})"
    )


def line_title(line: InvoiceLineView) -> str:
    """Return the title of a line's charge."""
    return _TOKENS[line.token_kind] if line.token_kind is not None else _KINDS[line.kind]


def line_details(line: InvoiceLineView) -> str:
    """Return a line's project, model, price version, period and corrected line."""
    parts = [
        f"project {line.project_id}" if line.project_id else "",
        f"price {line.price_version}" if line.price_version else f"model {line.model_id}" if line.model_id else "",
        f"{line.tier} tier" if line.tier else "",
        f"{day(line.charge_start)} to {last_day(line.charge_end)}",
        f"for line {line.refers_to_line}" if line.refers_to_line is not None else "",
        f"adjustment {line.reference}" if line.reference else "",
        "CORRECTION of an earlier period" if line.correction else "",
    ]
    return " · ".join(part for part in parts if part)
