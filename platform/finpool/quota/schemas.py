"""What goes in and out of the quota domain."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from finpool.kernel.ids import LeaseId, RequestId, TenantId

_LARGEST = 9_000_000_000_000_000
"""Largest limit that may be set: every JSON client reads it exactly."""


class Limits(BaseModel):
    """A tenant's limits. A rate of null is not limited; a tenant without limits has no budget."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    budget_micros: int = Field(ge=0, le=_LARGEST, description="Total that may be spent, in millionths of the currency.")
    requests_per_minute: int | None = Field(None, ge=0, le=_LARGEST, description="Requests in any 60 seconds.")
    tokens_per_minute: int | None = Field(
        None, ge=0, le=_LARGEST, description="Input and output tokens together in any 60 seconds."
    )
    concurrency: int | None = Field(None, ge=0, le=_LARGEST, description="Requests under way at the same time.")


class AccountView(BaseModel):
    """A tenant's account, in micros: what is spent, and what is held by leases for requests to come or under way."""

    tenant_id: str
    limit_micros: int
    posted_micros: int
    pending_micros: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one request may cost at the most, held until it is settled.

    `amount_picos` comes out of the lease; `tokens` counts against the tokens per minute.
    """

    request_id: RequestId
    tenant_id: TenantId
    lease_id: LeaseId
    amount_picos: int
    tokens: int


@dataclass(frozen=True, slots=True)
class RateStatus:
    """What is left of one rate: for the `x-ratelimit-*` headers. `reset_ms`: until all of it is available again."""

    limit: int
    remaining: int
    reset_ms: int


def rate_headers(rates: Mapping[str, RateStatus]) -> dict[str, str]:
    """Return the `x-ratelimit-*` headers for rates by their names in the headers, as OpenAI writes them."""
    headers = {}
    for name, rate in rates.items():
        headers[f"x-ratelimit-limit-{name}"] = str(rate.limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(rate.remaining)
        headers[f"x-ratelimit-reset-{name}"] = _duration(rate.reset_ms)
    return headers


def _duration(milliseconds: int) -> str:
    """Render as OpenAI does: `12ms`, `1s`, `1m30s`."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
