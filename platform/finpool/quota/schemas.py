"""Values, bodies and answers of the quota domain."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from finpool.kernel.ids import TenantId

_LARGEST = 9_000_000_000_000_000
"""The largest limit, which every JSON client reads exactly."""

Amount = Annotated[int | None, Field(ge=0, le=_LARGEST)]


SCOPE_ID_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"
"""The id of the tenant, project, key or model of a limit."""


class SetBy(StrEnum):
    """The author of a limit. Neither can loosen the other's: both hold, and the tightest wins."""

    OPERATOR = "operator"
    TENANT = "tenant"


class Scope(StrEnum):
    """The kind of object that a limit covers; the scope of a whole tenant has the tenant's id."""

    TENANT = "tenant"
    PROJECT = "project"
    KEY = "key"
    MODEL = "model"


class Period(StrEnum):
    """The period of a budget, in UTC. `prepaid` is the tenant's paid-in amount; it is no settable limit."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"
    PREPAID = "prepaid"


class Rate(StrEnum):
    """A limited amount besides money."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


class Limits(BaseModel):
    """The limits of one scope; null is unlimited. A tenant without a budget on its own scope may spend nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    budget_day_micros: Amount = Field(None, description="May be spent in a day (UTC), in millionths of the currency.")
    budget_month_micros: Amount = Field(None, description="May be spent in a calendar month (UTC).")
    budget_total_micros: Amount = Field(None, description="May be spent in all.")
    soft_thresholds_percent: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        [], max_length=10, description="Percentages of each budget at which an event is put on record."
    )
    requests_per_minute: Amount = Field(None, description="Requests in any 60 seconds.")
    tokens_per_minute: Amount = Field(None, description="Input and output tokens together in any 60 seconds.")
    concurrency: Amount = Field(None, description="Requests under way at the same time.")

    @field_validator("soft_thresholds_percent")
    @classmethod
    def _in_order(cls, percents: list[int]) -> list[int]:
        return sorted(set(percents))

    def budgets(self) -> Iterator[tuple[Period, int]]:
        """Yield each limited budget, in micros."""
        for period, micros in (
            (Period.DAY, self.budget_day_micros),
            (Period.MONTH, self.budget_month_micros),
            (Period.TOTAL, self.budget_total_micros),
        ):
            if micros is not None:
                yield period, micros

    def rates(self) -> Iterator[tuple[Rate, int]]:
        """Yield each limited rate, the cheapest check first."""
        for rate, limit in (
            (Rate.CONCURRENCY, self.concurrency),
            (Rate.REQUESTS, self.requests_per_minute),
            (Rate.TOKENS, self.tokens_per_minute),
        ):
            if limit is not None:
                yield rate, limit


class PaymentTerms(StrEnum):
    """The payment terms. A prepaid tenant spends its paid-in amount; a postpaid one gets an invoice."""

    PREPAID = "prepaid"
    POSTPAID = "postpaid"


class LimitKey(NamedTuple):
    """The scope of a set of limits, and their author."""

    set_by: SetBy
    scope: Scope
    scope_id: str

    @property
    def limit_id(self) -> str:
        """The limit's name in messages, headers and tables: `operator/project/lending`."""
        return f"{self.set_by}/{self.scope}/{self.scope_id}"

    def columns(self) -> dict[str, str]:
        """Return the key as columns of a table and fields of an event."""
        return {"set_by": self.set_by.value, "scope": self.scope.value, "scope_id": self.scope_id}


def operator_limit(tenant_id: TenantId) -> LimitKey:
    """Return the key of the operator's limits on a whole tenant, which are its contract."""
    return LimitKey(SetBy.OPERATOR, Scope.TENANT, tenant_id)


class BudgetKey(NamedTuple):
    """One budget of a limit, in its current period."""

    limit: LimitKey
    period: Period

    @property
    def name(self) -> str:
        """The budget's name without its period's start: `operator/project/lending/month`."""
        return f"{self.limit.limit_id}/{self.period}"


class RateKey(NamedTuple):
    """One rate of a limit."""

    limit: LimitKey
    rate: Rate


class Subject(NamedTuple):
    """The subject of a request's limits: its tenant, project, key and model."""

    tenant_id: TenantId
    project_id: str
    key_id: str
    model_id: str


class LimitView(BaseModel):
    """The limits of one scope, and their author."""

    set_by: SetBy
    scope: Scope
    scope_id: str
    limits: Limits


class LimitList(BaseModel):
    """Every limit of a tenant."""

    object: str = "list"
    data: list[LimitView]


class BudgetView(BaseModel):
    """One budget in its present period, in micros; `pending` is held by leases for running and future requests."""

    set_by: SetBy
    scope: Scope
    scope_id: str
    period: Period
    limit_micros: int
    posted_micros: int
    pending_micros: int
    resets_at: datetime | None


class AccountView(BaseModel):
    """A tenant's account in micros: its total spending and its budgets.

    `pending_micros` is the largest amount that leases hold of any budget, past periods included. `funded_micros` is a
    prepaid tenant's paid-in amount after fees and taxes.
    """

    tenant_id: str
    payment: str
    funded_micros: int | None
    posted_micros: int
    pending_micros: int
    budgets: list[BudgetView]


@dataclass(frozen=True, slots=True)
class RateStatus:
    """The rest of one rate, for the `x-ratelimit-*` headers. `reset_ms` is the time until all of it is available."""

    limit: int
    remaining: int
    reset_ms: int


def rate_headers(rates: Mapping[str, RateStatus]) -> dict[str, str]:
    """Return the `x-ratelimit-*` headers of rates by their header names, as OpenAI writes them."""
    headers = {}
    for name, rate in rates.items():
        headers[f"x-ratelimit-limit-{name}"] = str(rate.limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(rate.remaining)
        headers[f"x-ratelimit-reset-{name}"] = duration(rate.reset_ms)
    return headers


def duration(milliseconds: int) -> str:
    """Return a duration in OpenAI's format: `12ms`, `1s`, `1m30s`, `2h0m5s`."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


class LeaseOutcome(StrEnum):
    """The end of a lease: a return by its replica, or an operator's decision on a lost spool."""

    RETURNED = "returned"
    CHARGED = "charged"
    RELEASED = "released"
