"""Queries and answers about events that the log could not take."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from finpool.audit.schemas import SEQ_MAX
from finpool.kernel.names import plain_text


class QuarantineQuery(BaseModel):
    """Events in quarantine after a number; without `reviewed` only those that no operator has reviewed."""

    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(None, ge=0, le=SEQ_MAX, description="`next` of the page before; by default the first.")
    limit: int = Field(20, ge=1, le=100)
    reviewed: bool = Field(False, description="Reviewed events, too.")


class QuarantinedEventView(BaseModel):
    """An event that the log could not take. `sha256` is the hash of `content`, which an entry of the log names.

    `content` is None above 131,072 bytes, and always for operators: they do not read the log. Times are Unix seconds.
    """

    outbox_id: int
    tenant_id: str | None
    content: str | None
    content_bytes: int
    sha256: str
    reason: str
    written_at: int
    set_aside_at: int
    reviewed_at: int | None
    reviewed_by: str | None


class QuarantinedEventPage(BaseModel):
    """Events in the order of their numbers. `next` is None on the last page."""

    object: Literal["list"] = "list"
    data: list[QuarantinedEventView]
    next: int | None

    @classmethod
    def of(cls, data: Sequence[QuarantinedEventView], query: QuarantineQuery) -> Self:
        """Return the page that a query selected."""
        return cls(data=list(data), next=data[-1].outbox_id if len(data) == query.limit else None)


class QuarantineReviewBody(BaseModel):
    """An operator's finding about an event in quarantine, which goes on record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    finding: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(plain_text)
    ]
