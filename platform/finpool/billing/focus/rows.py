"""An invoice as rows of FOCUS 1.3, the FinOps open cost and usage specification: the dataset Cost and Usage.

Each line is a row, and so is its tax, so the billed costs of an invoice's rows sum to its total exactly. Amounts are
decimals of the invoice's currency, which is also the pricing currency. FOCUS columns without data on this platform
(regions, resources, capacity reservations, commitment discounts) are left out. CommitmentDiscountStatus stays, because
ConsumedQuantity depends on it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from finpool.billing.invoice.schemas import InvoiceKind, InvoiceLineView, InvoiceView, LineKind, TokenKind

FocusValue = str | Decimal | datetime | None
FocusRow = dict[str, FocusValue]

ListPicos = Mapping[str, Mapping[TokenKind, int]]
"""List prices in picos per token, by the charged price version, which has a discount taken off."""

AMOUNT_COLUMNS = (
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ListUnitPrice",
    "ContractedUnitPrice",
    "PricingQuantity",
    "ConsumedQuantity",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingCurrencyContractedUnitPrice",
)
TIME_COLUMNS = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
TEXT_COLUMNS = (
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "InvoiceId",
    "InvoiceIssuerName",
    "ServiceProviderName",
    "HostProviderName",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceSubcategory",
    "ServiceName",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "CommitmentDiscountStatus",
    "PricingCategory",
    "PricingCurrency",
    "PricingUnit",
    "ConsumedUnit",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SkuPriceDetails",
    "x_InvoiceLine",
    "x_RefersToInvoice",
    "x_RefersToInvoiceLine",
)
COLUMNS = (*TEXT_COLUMNS, *TIME_COLUMNS, *AMOUNT_COLUMNS)

TOKENS_PER_PRICE = 1_000_000
PRICING_UNIT = f"{TOKENS_PER_PRICE} Tokens"
_METERS = {
    TokenKind.INPUT: "Input Tokens",
    TokenKind.CACHED_INPUT: "Cached Input Tokens",
    TokenKind.OUTPUT: "Output Tokens",
}


@dataclass(frozen=True, slots=True)
class _Charge:
    """The FOCUS terms of a kind of line."""

    category: str
    frequency: str
    service: str
    unit: str | None


_CHARGES = {
    LineKind.USAGE: _Charge("Usage", "Usage-Based", "Model inference", PRICING_UNIT),
    LineKind.LEASE_CHARGE: _Charge("Adjustment", "One-Time", "Model inference", None),
    LineKind.COMMITMENT: _Charge("Purchase", "Recurring", "Minimum commitment", "Months"),
    LineKind.MEMBERSHIP: _Charge("Purchase", "Recurring", "Pool membership", "Months"),
    LineKind.CREDIT: _Charge("Credit", "One-Time", "Credit", None),
}


def focus_rows(
    invoice: InvoiceView, project_names: Mapping[str, str], list_picos: ListPicos | None = None
) -> Iterator[FocusRow]:
    """Yield an invoice's rows in the order of its lines: each line, then its tax. A draft has no InvoiceId.

    A price version that `list_picos` lacks counts as a list price itself.
    """
    for line in invoice.lines:
        shared = _of_invoice(invoice) | _of_line(invoice, line, project_names)
        yield _complete(shared | _costs(line, list_picos or {}))
        if line.tax_micros:
            yield _complete(shared | _tax(invoice, line))


def decimal_of_micros(amount_micros: int) -> Decimal:
    """Return micros as units of the currency, exactly."""
    return Decimal(amount_micros).scaleb(-6)


def decimal_of_picos(amount_picos: int) -> Decimal:
    """Return picos as units of the currency, exactly."""
    return Decimal(amount_picos).scaleb(-12)


def _complete(row: FocusRow) -> FocusRow:
    priced = {
        f"PricingCurrency{name}": row.get(name) for name in ("EffectiveCost", "ListUnitPrice", "ContractedUnitPrice")
    }
    return dict.fromkeys(COLUMNS) | row | priced


def _of_invoice(invoice: InvoiceView) -> FocusRow:
    return {
        "BillingAccountId": invoice.tenant_id,
        "BillingAccountName": invoice.buyer_name,
        "BillingAccountType": "Institution",
        "BillingCurrency": invoice.currency,
        "PricingCurrency": invoice.currency,
        "BillingPeriodStart": invoice.period_start,
        "BillingPeriodEnd": invoice.period_end,
        "InvoiceId": invoice.number,
        "InvoiceIssuerName": invoice.seller_name,
        "ServiceProviderName": invoice.seller_name,
        "HostProviderName": invoice.seller_name,
        "ProviderName": invoice.seller_name,
        "PublisherName": invoice.seller_name,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "x_RefersToInvoice": invoice.refers_to_number,
    }


def _of_line(invoice: InvoiceView, line: InvoiceLineView, project_names: Mapping[str, str]) -> FocusRow:
    charge = _CHARGES[line.kind]
    project = line.project_id
    corrects = line.correction or invoice.kind is InvoiceKind.CREDIT_NOTE
    return {
        "SubAccountId": project,
        "SubAccountName": None if project is None else project_names.get(project, project),
        "SubAccountType": None if project is None else "Project",
        "ChargeCategory": charge.category,
        "ChargeClass": "Correction" if corrects else None,
        "ChargeDescription": describe(line),
        "ChargeFrequency": charge.frequency,
        "ChargePeriodStart": line.charge_start,
        "ChargePeriodEnd": line.charge_end,
        "ServiceName": charge.service,
        "x_InvoiceLine": str(line.line_no),
        "x_RefersToInvoiceLine": None if line.refers_to_line is None else str(line.refers_to_line),
    }


def describe(line: InvoiceLineView) -> str:
    """Return the description of a line as one short sentence."""
    words = [_CHARGES[line.kind].service]
    if line.token_kind is not None:
        words.append(f"{_METERS[line.token_kind].lower()} of {line.model_id}, {line.tier} tier")
    elif line.model_id is not None:
        words.append(f"of {line.model_id}")
    if line.refers_to_line is not None:
        words.append(f"for line {line.refers_to_line}")
    if line.correction:
        words.append("(correction of an earlier period)")
    return f"{words[0]}: {' '.join(words[1:])}" if len(words) > 1 else words[0]


def _costs(line: InvoiceLineView, list_picos: ListPicos) -> FocusRow:
    billed = decimal_of_micros(line.amount_micros)
    row: FocusRow = {"BilledCost": billed, "EffectiveCost": billed, "ListCost": billed, "ContractedCost": billed}
    unit = _CHARGES[line.kind].unit
    if line.token_kind is not None and line.quantity_tokens is not None and line.unit_picos is not None:
        exact = decimal_of_picos(line.amount_picos)
        # Write one decimal digit, so that CSV readers which guess types see decimals.
        tokens = Decimal(line.quantity_tokens * 10).scaleb(-1)
        listed = list_picos.get(line.price_version or "", {}).get(line.token_kind, line.unit_picos)
        # Picos per token are micros per million tokens.
        row |= {
            "ListCost": decimal_of_picos(line.quantity_tokens * listed),
            "ContractedCost": exact,
            "ListUnitPrice": decimal_of_micros(listed),
            "ContractedUnitPrice": decimal_of_micros(line.unit_picos),
            "PricingCategory": "Standard",
            "PricingQuantity": tokens / TOKENS_PER_PRICE,
            "PricingUnit": PRICING_UNIT,
            "ConsumedQuantity": tokens,
            "ConsumedUnit": "Tokens",
            "SkuId": f"{line.model_id}/{line.token_kind}",
            "SkuMeter": _METERS[line.token_kind],
            "SkuPriceId": f"{line.price_version}/{line.token_kind}",
            "SkuPriceDetails": json.dumps({"x_PriceVersion": line.price_version, "x_Tier": line.tier}),
        }
    elif unit is not None and billed >= 0:
        row |= {
            "ListUnitPrice": billed,
            "ContractedUnitPrice": billed,
            "PricingCategory": "Standard",
            "PricingQuantity": Decimal(1),
            "PricingUnit": unit,
            "SkuId": line.kind.value,
            "SkuMeter": unit,
            "SkuPriceId": line.kind.value,
        }
    return row


def _tax(invoice: InvoiceView, line: InvoiceLineView) -> FocusRow:
    tax = decimal_of_micros(line.tax_micros)
    percent = format(Decimal(line.tax_basis_points).scaleb(-2).normalize(), "f")
    return {
        "ChargeCategory": "Tax",
        "ChargeDescription": f"{invoice.tax_label or 'Tax'} {percent} % on line {line.line_no}",
        "ChargeFrequency": _CHARGES[line.kind].frequency,
        "BilledCost": tax,
        "EffectiveCost": tax,
        "ListCost": tax,
        "ContractedCost": tax,
    }
