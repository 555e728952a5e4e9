"""Bodies and answers of disputes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator

from finpool.billing.models import Dispute
from finpool.billing.payment.schemas import AmountMicros, LineNumber
from finpool.kernel.ids import TenantId
from finpool.kernel.paging import Listed, PageQuery

TEXT_LENGTH_MAX = 2000


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not hold the character NUL, which the database cannot keep")
    return value


Explanation = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TEXT_LENGTH_MAX),
    AfterValidator(_without_nul),
]
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class DisputeStatus(StrEnum):
    """The status of a dispute; it is open until it is answered once."""

    OPEN = "open"
    REJECTED = "rejected"
    ACCEPTED = "accepted"


class DisputeQuery(PageQuery):
    """A page of all disputes, or of those with one status."""

    status: DisputeStatus | None = None


class NewDispute(BaseModel):
    """Body that disputes a line of an issued invoice, or one request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    invoice_id: Id | None = None
    line_no: LineNumber | None = None
    request_id: Id | None = None
    reason: Explanation

    @model_validator(mode="after")
    def _is_about_one_thing(self) -> Self:
        by_line = self.invoice_id is not None and self.line_no is not None and self.request_id is None
        by_request = self.invoice_id is None and self.line_no is None and self.request_id is not None
        if not (by_line or by_request):
            raise ValueError("give invoice_id and line_no, or request_id")
        return self


class DisputeAnswerBody(BaseModel):
    """Body that answers a dispute. Accepting it credits `credit_micros` before tax, or the whole rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Literal["accepted", "rejected"]
    answer: Explanation
    credit_micros: AmountMicros | None = None

    @model_validator(mode="after")
    def _a_rejection_credits_nothing(self) -> Self:
        if self.verdict == "rejected" and self.credit_micros is not None:
            raise ValueError("credit_micros goes with verdict accepted only")
        return self


class DisputeView(Listed):
    """A dispute. An accepted one names its credit note, or the usage adjustment for the next invoice."""

    object: Literal["dispute"] = "dispute"
    id: str
    tenant_id: TenantId
    status: DisputeStatus
    invoice_id: str | None
    line_no: int | None
    request_id: str | None
    reason: str
    opened_by: str
    opened_at: datetime
    answer: str | None
    answered_at: datetime | None
    credit_note_id: str | None
    adjustment_id: str | None

    @classmethod
    def of(cls, row: Dispute) -> Self:
        """Return the response for a row."""
        return cls.model_validate({**row.model_dump(), "id": row.dispute_id})
