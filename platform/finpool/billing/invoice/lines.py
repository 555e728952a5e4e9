"""Lines of an invoice, computed from charges: exact amounts, rounded once per line, and the credit left on a line.

All functions compute on integers and read no table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from finpool.billing.errors import AboveWhatIsLeft, NotAWholeAmount, UsageDoesNotAddUp
from finpool.billing.invoice.schemas import LineKind, TokenKind
from finpool.billing.models import InvoiceLine
from finpool.billing.months import next_month
from finpool.billing.rounding import minor_unit_micros, rounded, tax_of
from finpool.kernel.money import PICOS_PER_MICRO
from finpool.kernel.settings import Settings


@dataclass(frozen=True, slots=True)
class BillingTerms:
    """The invoice settings of this installation."""

    currency: str
    seller_name: str
    tax_label: str
    tax_basis_points: int

    @classmethod
    def of(cls, settings: Settings, currency: str) -> Self:
        """Return the terms that the settings say, in the currency of the catalogue."""
        return cls(
            currency=currency,
            seller_name=settings.invoice_seller_name,
            tax_label=settings.invoice_tax_label,
            tax_basis_points=settings.invoice_tax_basis_points,
        )

    @property
    def minor_unit_micros(self) -> int:
        """The currency's smallest amount, in micros."""
        return minor_unit_micros(self.currency)


@dataclass(frozen=True, slots=True)
class UnitPrices:
    """The token prices of one price version, in picos."""

    input_picos: int
    cached_input_picos: int
    output_picos: int


@dataclass(frozen=True, slots=True)
class UsageSum:
    """The usage of one month with equal line fields. Sums of corrections may be negative."""

    month: datetime
    correction: bool
    project_id: str
    model_id: str
    price_version: str
    tier: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_picos: int


@dataclass(frozen=True, slots=True)
class Charge:
    """A line before its rounding. `month` is the start of the charged month."""

    kind: LineKind
    month: datetime
    amount_picos: int
    correction: bool = False
    project_id: str | None = None
    model_id: str | None = None
    price_version: str | None = None
    tier: str | None = None
    token_kind: TokenKind | None = None
    quantity_tokens: int | None = None
    unit_picos: int | None = None
    reference: str | None = None


def usage_charges(sums: Iterable[UsageSum], prices: Mapping[str, UnitPrices]) -> list[Charge]:
    """Split each sum by token kind at its version's prices; raise `UsageDoesNotAddUp` unless they sum to its cost."""
    charges: list[Charge] = []
    for each in sums:
        price = prices.get(each.price_version)
        if price is None:
            raise UsageDoesNotAddUp(f"the amounts of price version {each.price_version} are unknown")
        parts = [
            (TokenKind.INPUT, each.input_tokens - each.cached_input_tokens, price.input_picos),
            (TokenKind.CACHED_INPUT, each.cached_input_tokens, price.cached_input_picos),
            (TokenKind.OUTPUT, each.output_tokens, price.output_picos),
        ]
        split = sum(quantity * unit for _, quantity, unit in parts)
        if split != each.cost_picos:
            raise UsageDoesNotAddUp(
                f"usage of {each.model_id} by project {each.project_id} in {each.month:%Y-%m} was recorded at"
                f" {each.cost_picos} picos, but its tokens cost {split} in price version {each.price_version}"
            )
        charges += [_usage_charge(each, *part) for part in parts if part[1]]
    return charges


def _usage_charge(each: UsageSum, token_kind: TokenKind, quantity: int, unit_picos: int) -> Charge:
    return Charge(
        kind=LineKind.USAGE,
        month=each.month,
        amount_picos=quantity * unit_picos,
        correction=each.correction,
        project_id=each.project_id,
        model_id=each.model_id,
        price_version=each.price_version,
        tier=each.tier,
        token_kind=token_kind,
        quantity_tokens=quantity,
        unit_picos=unit_picos,
    )


def invoice_line(charge: Charge, *, tenant_id: str, invoice_id: str, line_no: int, terms: BillingTerms) -> InvoiceLine:
    """Return the line of a charge; its amount is rounded once, then its tax."""
    unit = terms.minor_unit_micros
    amount_micros = rounded(charge.amount_picos, unit * PICOS_PER_MICRO) // PICOS_PER_MICRO
    return InvoiceLine(
        tenant_id=tenant_id,
        invoice_id=invoice_id,
        line_no=line_no,
        kind=charge.kind.value,
        correction=charge.correction,
        charge_start=charge.month,
        charge_end=next_month(charge.month),
        project_id=charge.project_id,
        model_id=charge.model_id,
        price_version=charge.price_version,
        tier=charge.tier,
        token_kind=charge.token_kind.value if charge.token_kind else None,
        quantity_tokens=charge.quantity_tokens,
        unit_picos=charge.unit_picos,
        reference=charge.reference,
        amount_picos=charge.amount_picos,
        amount_micros=amount_micros,
        tax_basis_points=terms.tax_basis_points,
        tax_micros=tax_of(amount_micros, terms.tax_basis_points, unit),
    )


@dataclass(frozen=True, slots=True)
class Charged:
    """The charges of issued invoices for one month, in picos."""

    usage_picos: int = 0
    commitment_picos: int = 0
    membership_picos: int = 0


def commitment_charge(
    month: datetime, commitment_picos: int, before: Charged, usage_picos: int, *, correction: bool
) -> Charge | None:
    """Return the charge for usage below a month's minimum, less earlier such charges, or None for zero.

    `usage_picos` is the month's usage on this invoice. Late usage reduces the earlier charge. If corrections exceed the
    month's usage, only the commitment is charged; otherwise it would cancel the corrections.
    """
    used = max(0, before.usage_picos + usage_picos)
    below = max(0, commitment_picos - used)
    amount = below - before.commitment_picos
    return Charge(LineKind.COMMITMENT, month, amount, correction=correction) if amount else None


def membership_charge(month: datetime, fee_picos: int, before: Charged, *, correction: bool) -> Charge | None:
    """Return the charge of a month's membership fee, less its earlier charges, or None for zero."""
    amount = fee_picos - before.membership_picos
    return Charge(LineKind.MEMBERSHIP, month, amount, correction=correction) if amount else None


@dataclass(frozen=True, slots=True)
class Credited:
    """The credit of a line so far, with the line's own sign."""

    net_micros: int = 0
    tax_micros: int = 0


def credit_of(line: InvoiceLine, so_far: Credited, amount_micros: int | None, minor_unit: int) -> Credited:
    """Return the next credit of a line: `amount_micros` of its net amount, or its whole rest for None.

    The tax follows in proportion, rounded once. The last credit takes the whole rest of the tax, so that a fully
    credited line has no rest. Raises `NotAWholeAmount` and `AboveWhatIsLeft`.
    """
    left = Credited(line.amount_micros - so_far.net_micros, line.tax_micros - so_far.tax_micros)
    if amount_micros is None or amount_micros == left.net_micros:
        return left
    if amount_micros % minor_unit:
        raise NotAWholeAmount(minor_unit)
    if amount_micros > left.net_micros:
        raise AboveWhatIsLeft(f"line {line.line_no}", max(left.net_micros, 0))
    tax = min(tax_of(amount_micros, line.tax_basis_points, minor_unit), left.tax_micros)
    return Credited(amount_micros, tax)
