"""Invoices as answers; every document and export is rendered from them."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from finpool.billing.rounding import minor_unit_micros
from finpool.kernel.exact_json import ExactPicos
from finpool.kernel.money import from_micros
from finpool.kernel.paging import Listed

AMOUNT_MAX_MICROS = 9_000_000_000_000_000
"""The largest amount, which every JSON client reads exactly."""


class InvoiceKind(StrEnum):
    """The kind of a document. A credit note takes back an excess charge of an issued invoice."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class InvoiceStatus(StrEnum):
    """The status of an invoice. A draft may be replaced, an issued one never changes, a paid one has no open amount."""

    DRAFT = "draft"
    ISSUED = "issued"
    PAID = "paid"


class LineKind(StrEnum):
    """The kind of a line's charge or credit."""

    USAGE = "usage"
    COMMITMENT = "commitment"
    MEMBERSHIP = "membership"
    LEASE_CHARGE = "lease_charge"
    CREDIT = "credit"


class TokenKind(StrEnum):
    """Tokens with a price of their own; input excludes cached input."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    OUTPUT = "output"


class InvoiceLineView(BaseModel):
    """One line. `amount_micros` is `amount_picos` rounded once to the currency's minor unit, and so is its tax.

    `correction` marks a change of recorded usage, or a charge for an earlier invoiced period. A charge covers
    [charge_start, charge_end). `reference` is the usage adjustment of a line that comes from a single one.
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

    `period_end` is exclusive. `cut_seq` is the number of the last usage record that the invoice may cover.
    `refers_to` is the id of a credit note's invoice, `refers_to_number` its number.
    """

    model_config = ConfigDict(frozen=True)

    object: Literal["invoice"] = "invoice"
    id: str
    tenant_id: str
    kind: InvoiceKind
    status: InvoiceStatus
    number: str | None
    refers_to: str | None
    refers_to_number: str | None
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
    """An invoice or a credit note with its lines, ordered by number.

    Each line is rounded once, to a multiple of `rounding_unit_micros`. `exact_picos` is the sum of the lines before
    that, and `rounding_picos` is the effect of all roundings on `net_micros`: net less exact.
    `membership_fees_left_out` names the months, such as 2026-11, whose fee only the invoice will have. It is empty but
    for a member's own draft.
    """

    lines: tuple[InvoiceLineView, ...]
    membership_fees_left_out: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rounding_unit_micros(self) -> int:
        """The smallest amount of the currency, in micros."""
        return minor_unit_micros(self.currency)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def exact_picos(self) -> ExactPicos:
        """The sum of the lines' exact amounts."""
        return sum(line.amount_picos for line in self.lines)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rounding_picos(self) -> ExactPicos:
        """The net amount less the exact one."""
        return from_micros(self.net_micros) - self.exact_picos


class NewInvoice(BaseModel):
    """Body that drafts an invoice from the end of the last one to the end of `month` (UTC)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    month: str = Field(
        pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="Last month of the period, such as 2026-10."
    )
