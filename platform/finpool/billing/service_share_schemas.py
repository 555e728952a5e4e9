"""Who was served how much by a busy engine, beside what was due: what is asked for and what is shown."""

from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finpool.kernel.clock import now
from finpool.kernel.ids import ModelId, TenantId
from finpool.metering.schemas import Moment

WINDOWS_MAX = 1440


class ServiceShareQuery(BaseModel):
    """Which time, in windows of how many seconds; by default the last hour by the minute."""

    model_config = ConfigDict(extra="forbid")

    end: Moment = Field(default_factory=now, alias="to", description="Exclusive; by default now.")
    start: Moment = Field(
        default_factory=lambda: now() - timedelta(hours=1), alias="from", description="By default an hour ago."
    )
    window_seconds: int = Field(60, ge=60, le=86_400, description="Length of a window.")

    @model_validator(mode="after")
    def _is_a_page_of_windows(self) -> Self:
        seconds = (self.end - self.start).total_seconds()
        if seconds <= 0:
            raise ValueError("`from` must be earlier than `to`")
        if seconds / self.window_seconds > WINDOWS_MAX:
            raise ValueError(f"at most {WINDOWS_MAX} windows: take longer ones, or a shorter time")
        return self


class TenantShare(BaseModel):
    """One tenant in one window. Service is input tokens + 2 x output tokens of the requests that ended in it.

    `share` is its part of all service, `entitled_share` what its contract gives it beside those who were served.
    `noisy_neighbour_index` is 0 for a tenant that did not wait, or got what was due; else the part of the service that
    was due to it and went to tenants beyond what was due to them. Waits are of requests with a wait on record.
    """

    tenant_id: TenantId
    requests: int
    service: int
    share: float
    entitled_share: float
    noisy_neighbour_index: float
    queue_ms_median: int | None
    queue_ms_p95: int | None
    queue_ms_max: int | None


class ServiceWindow(BaseModel):
    """All tenants that an engine served in a window, by id."""

    start: datetime
    end: datetime
    service: int
    tenants: list[TenantShare]


class ServiceShares(BaseModel):
    """The windows in which an engine served anybody. `models` are all that it serves: a model and its adapters."""

    object: Literal["list"] = "list"
    engine: ModelId
    models: list[ModelId]
    window_seconds: int
    data: list[ServiceWindow]
