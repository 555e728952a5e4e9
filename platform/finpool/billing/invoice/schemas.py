"""Invoices as they are shown: what every rendering and export is made from."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from finpool.kernel.paging import Listed

AMOUNT_MAX_MICROS = 9_000_000_000_000_000
"""Largest amount that may be given: every JSON client reads it exactly."""

ExactPicos = Annotated[int, PlainSerializer(str, return_type=str, when_used="json")]
"""Picos; a string in JSON, because they pass the whole numbers that JSON clients read exactly."""


class InvoiceKind(StrEnum):
    """A credit note takes back what an issued invoice charged too much."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class InvoiceStatus(StrEnum):
    """A draft may be made again; what is issued has a number and never changes; paid means that nothing is open."""

    DRAFT = "draft"
    ISSUED = "issued"
    PAID = "paid"


class LineKind(StrEnum):
    """What a line charges, or gives back."""

    USAGE = "usage"
    COMMITMENT = "commitment"
    MEMBERSHIP = "membership"
    LEASE_CHARGE = "lease_charge"
    CREDIT = "credit"


class TokenKind(StrEnum):
    """Tokens that have a price of their own; cached input is not counted among input."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    OUTPUT = "output"


class InvoiceLineView(BaseModel):
    """One line. `amount_micros` is `amount_picos` rounded once to the currency's minor unit; so is the tax of it.

    `correction` marks what belongs to a period that was invoiced before, or changes what was recorded. Charges are for
    [charge_start, charge_end). `reference` is the adjustment that a line comes from, if it comes from one alone.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True)

    line_no: int
    kind: LineKind
    correction: bool
    charge_start: datetime
    charge_end: datetime
    project_id: str | None
    model_id: str | None
    price_version: str | None
    tier: str | None
    token_kind: TokenKind | None
    quantity_tokens: int | None
    unit_picos: ExactPicos | None
    reference: str | None
    refers_to_line: int | None
    amount_picos: ExactPicos
    amount_micros: int
    tax_basis_points: int
    tax_micros: int


class InvoiceSummary(Listed):
    """An invoice or a credit note without its lines. Amounts are micros of `currency`; times are UTC.

    `period_end` is not included in the period. `cut_seq` is the number of the last usage record that could be in it.
    """

    model_config = ConfigDict(frozen=True)

    object: Literal["invoice"] = "invoice"
    id: str
    tenant_id: str
    kind: InvoiceKind
    status: InvoiceStatus
    number: str | None
    refers_to: str | None
    reference: str | None
    reason: str | None
    prepaid: bool
    currency: str
    seller_name: str
    buyer_name: str
    tax_label: str
    period_start: datetime
    period_end: datetime
    previous_end: datetime | None
    previous_cut_seq: int | None
    cut_seq: int | None
    net_micros: int
    tax_micros: int
    total_micros: int
    created_at: datetime
    issued_at: datetime | None
    paid_at: datetime | None


class InvoiceView(InvoiceSummary):
    """An invoice or a credit note with its lines, by number."""

    lines: tuple[InvoiceLineView, ...]


class NewInvoice(BaseModel):
    """Body that drafts an invoice: everything since the last one, up to the end of `month` (UTC)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    month: str = Field(
        pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="Last month of the period, such as 2026-10."
    )
