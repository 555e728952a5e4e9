"""Body and answers of corrections of usage that was estimated after a crash."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from finpool.kernel.ids import TenantId
from finpool.kernel.names import plain_text
from finpool.kernel.paging import Listed

REQUEST_ID_PATTERN = r"^[!-~]{1,256}$"
TOKENS_MAX = 1_000_000_000
REASON_LENGTH_MAX = 500

Tokens = Annotated[int, Field(ge=0, le=TOKENS_MAX, strict=True)]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_LENGTH_MAX),
    AfterValidator(plain_text),
]
"""The words of an operator that go on record beside a decision."""


class NewCorrection(BaseModel):
    """The true total usage of a request and the source of the figures; cached tokens are a part of the input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_tokens: Tokens
    cached_input_tokens: Tokens = 0
    output_tokens: Tokens
    reason: Reason

    @model_validator(mode="after")
    def _cached_is_a_part(self) -> Self:
        if self.cached_input_tokens > self.input_tokens:
            raise ValueError("cached_input_tokens is above input_tokens")
        return self


class EstimatedUsageView(Listed):
    """A request that was settled at its last mark, with its current counts. `cost_micros` is rounded up.

    `id` is the request's id; `corrected` tells whether an operator has corrected it.
    """

    object: Literal["estimated_usage"] = "estimated_usage"
    tenant_id: TenantId
    project_id: str
    model_id: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_micros: int
    currency: str
    settled_at: datetime
    corrected: bool


class CorrectedUsageView(EstimatedUsageView):
    """The request's current counts. `adjustment_id` is None if the correction changed nothing."""

    adjustment_id: str | None
