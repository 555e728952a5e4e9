"""Queries and answers of service shares."""

from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finpool.kernel.clock import now
from finpool.kernel.ids import ModelId, TenantId
from finpool.metering.usage.schemas import Moment

WINDOWS_MAX = 1440

OWN_WINDOW_SECONDS_MIN = 900
"""A bank that knows its share of a total knows the total; this is the shortest window for that (ADR 0026)."""

OWN_DAYS_MAX = 31


class ServiceShareQuery(BaseModel):
    """A time range in windows of `window_seconds`; by default the last hour by the minute."""

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


class OwnServiceShareQuery(ServiceShareQuery):
    """A time range in windows of `window_seconds`; by default the last day by the hour."""

    start: Moment = Field(
        default_factory=lambda: now() - timedelta(days=1), alias="from", description="By default a day ago."
    )
    window_seconds: int = Field(
        3600,
        ge=OWN_WINDOW_SECONDS_MIN,
        le=86_400,
        multiple_of=OWN_WINDOW_SECONDS_MIN,
        description="Length of a window: whole quarters of an hour.",
    )

    @model_validator(mode="after")
    def _is_a_month_at_most(self) -> Self:
        if self.end - self.start > timedelta(days=OWN_DAYS_MAX):
            raise ValueError(f"at most {OWN_DAYS_MAX} days: ask for a shorter time")
        return self


class ShareFigures(BaseModel):
    """One tenant in one window. Service is input tokens + 2 x output tokens of the requests that ended in it.

    `share` is its part of all service; `entitled_share` is its contract's share beside the other served tenants.
    `noisy_neighbour_index` is 0 for a tenant that did not wait or got its entitled share. Else it is the missing share,
    which went to tenants above their entitled shares. Waits cover requests with a recorded wait.
    """

    requests: int
    service: int
    share: float
    entitled_share: float
    noisy_neighbour_index: float
    queue_ms_median: int | None
    queue_ms_p95: int | None
    queue_ms_max: int | None


class TenantShare(ShareFigures):
    """The figures of one tenant, as operators and supervisors see them."""

    tenant_id: TenantId


class ServiceWindow(BaseModel):
    """All tenants that an engine served in a window, ordered by id."""

    start: datetime
    end: datetime
    service: int
    tenants: list[TenantShare]


class ServiceShareList(BaseModel):
    """The windows with service of an engine. `models` are all models of that engine: one model and its adapters."""

    object: Literal["list"] = "list"
    engine: ModelId
    models: list[ModelId]
    window_seconds: int
    data: list[ServiceWindow]


class OwnServiceWindow(ShareFigures):
    """A tenant's own figures in a whole window."""

    start: datetime
    end: datetime


class OwnServiceShareList(BaseModel):
    """The windows in which a model's engine served the tenant, each shown a minute after its end.

    `models` are the engine's models that the tenant may use; other tenants' models of the engine count in the total.
    """

    object: Literal["list"] = "list"
    model: ModelId
    models: list[ModelId]
    window_seconds: int
    data: list[OwnServiceWindow]
