"""Bodies and answers of payments and credits."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from finpool.billing.invoice.schemas import AMOUNT_MAX_MICROS
from finpool.kernel.names import NAME_LENGTH_MAX, plain_name

Reference = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_LENGTH_MAX),
    AfterValidator(plain_name),
]
"""The name of a payment or a credit in the operator's books; a repeated reference is booked once."""

AmountMicros = Annotated[int, Field(gt=0, le=AMOUNT_MAX_MICROS, strict=True)]
LineNumber = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]


class NewPayment(BaseModel):
    """Body that books a payment; the amount is in micros and a multiple of the currency's smallest unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount_micros: AmountMicros
    reference: Reference


class PaymentView(BaseModel):
    """A booked payment. `open_micros` is the open amount of the invoice, None for a payment in advance."""

    object: Literal["payment"] = "payment"
    id: str
    tenant_id: str
    invoice_id: str | None
    reference: str
    amount_micros: int
    created_at: datetime
    open_micros: int | None


class LineCredit(BaseModel):
    """The credit of one line: a net amount, or its whole rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    line_no: LineNumber
    amount_micros: AmountMicros | None = None


def _each_line_once(lines: tuple[LineCredit, ...] | None) -> tuple[LineCredit, ...] | None:
    counts = Counter(each.line_no for each in lines or ())
    if twice := sorted(line_no for line_no, count in counts.items() if count > 1):
        raise PydanticCustomError("twice", "must not name line {line_no} twice", {"line_no": twice[0]})
    return lines


class NewCreditNote(BaseModel):
    """Body that credits an issued invoice: the given lines, each once, or its whole rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: Reference
    reason: Reference
    lines: Annotated[tuple[LineCredit, ...] | None, AfterValidator(_each_line_once)] = Field(
        None, min_length=1, max_length=1000
    )
