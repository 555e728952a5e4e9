"""Query and answer of a reconciliation."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finpool.kernel.clock import now
from finpool.kernel.exact_json import ExactPicos
from finpool.kernel.ids import SLUG_PATTERN, TenantId
from finpool.metering.usage.schemas import MOMENT_FORMS, Moment


class Stage(StrEnum):
    """A place that keeps the same tokens and money, in the order of their flow."""

    ENGINE = "engine"
    LOG = "log"
    USAGE = "usage"
    PRICE = "price"
    ACCOUNT = "account"
    BUDGET = "budget"
    LEASE = "lease"
    LEDGER = "ledger"
    INVOICE = "invoice"
    PAYMENT = "payment"
    EXPORT = "export"


class Difference(BaseModel):
    """A difference between two stages about `subject`. Amounts in the values are picos unless another unit is named."""

    model_config = ConfigDict(frozen=True)

    tenant_id: str | None
    left: Stage
    right: Stage
    subject: str
    left_value: str
    right_value: str


class EngineCounts(BaseModel):
    """The engine counts of one model."""

    model_config = ConfigDict(frozen=True)

    input_tokens: int
    output_tokens: int


class TenantTotals(BaseModel):
    """The sums of one tenant's stages. `logged`, `used` and tokens cover the period; balances are current.

    Amounts are in picos of the installation's currency; those of invoices and exports are in micros.
    """

    model_config = ConfigDict(frozen=True)

    tenant_id: str
    requests: int
    input_tokens: int
    output_tokens: int
    logged_picos: ExactPicos
    used_picos: ExactPicos
    recorded_picos: ExactPicos
    posted_picos: ExactPicos
    ledger_picos: ExactPicos
    unbilled_picos: ExactPicos
    documents: int
    invoiced_micros: int
    exported_micros: int


class ReconciliationView(BaseModel):
    """The result: totals by tenant, and every difference. `engines` names the source of the engines' counts."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    object: Literal["reconciliation"] = "reconciliation"
    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    engines: Literal["counters", "log"]
    tenants: tuple[TenantTotals, ...]
    differences: tuple[Difference, ...]


class ReconciliationQuery(BaseModel):
    """Query of `GET /v1/reconciliation`: usage admitted in [from, to) and its invoices; by default this month."""

    model_config = ConfigDict(extra="forbid")

    start: Moment = Field(
        alias="from",
        default_factory=lambda: now().replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        description=f"{MOMENT_FORMS}; by default the start of this month in UTC.",
    )
    end: Moment = Field(alias="to", default_factory=now, description="Like `from`, not included; by default now.")
    tenant_id: TenantId | None = Field(None, pattern=SLUG_PATTERN, description="Only this tenant.")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.end <= self.start:
            raise ValueError("`to` must be later than `from`")
        return self
