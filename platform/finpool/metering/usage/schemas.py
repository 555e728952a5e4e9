"""Usage queries and answers: groups for operators and regulators, OpenAI's time buckets for tenants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from finpool.kernel.clock import now
from finpool.kernel.exact_json import ExactPicos
from finpool.kernel.ids import SLUG_PATTERN, TenantId
from finpool.kernel.money import Picos
from finpool.kernel.paging import Ids
from finpool.metering.usage.query_fields import MOMENT_FORMS as MOMENT_FORMS
from finpool.metering.usage.query_fields import UNIX_SECONDS_MAX, BucketLimit, SplitAtCommas
from finpool.metering.usage.query_fields import Moment as Moment

Result = TypeVar("Result")
UnixSeconds = Annotated[int, Field(ge=0, le=UNIX_SECONDS_MAX)]


class UsageDimension(StrEnum):
    """A dimension that operators and regulators may group usage by."""

    TENANT = "tenant"
    PROJECT = "project"
    KEY = "key"
    MODEL = "model"
    OPERATION = "operation"
    DAY = "day"


class UsageColumn(StrEnum):
    """A column of usage records that totals can be split by, besides time and currency."""

    TENANT = "tenant_id"
    PROJECT = "project_id"
    KEY = "key_id"
    MODEL = "model_id"
    OPERATION = "operation"
    PRICE = "price_version"


class UsageKind(StrEnum):
    """The two parts of a tenant's usage in OpenAI's shapes: each record and each adjustment belongs to one of them."""

    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


EMBEDDING_OPERATIONS = ("embeddings", "rerank")
"""The operations of the kind `embeddings`. All others are `completions`, and so are older records, which name none."""


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """A filter of usage records; None and an empty sequence do not restrict."""

    tenant_id: TenantId | None = None
    project_ids: Sequence[str] = ()
    key_ids: Sequence[str] = ()
    model_ids: Sequence[str] = ()
    price_versions: Sequence[str] = ()
    kind: UsageKind | None = None


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over usage of one currency. Columns that the totals are not split by are None.

    `bucket` is the Unix second at which the time bucket begins, at a whole minute, hour or day of UTC.
    """

    currency: str
    requests: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_picos: Picos
    estimated_requests: int
    bucket: int | None = None
    tenant_id: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    model_id: str | None = None
    operation: str | None = None
    price_version: str | None = None


class UsageGroup(BaseModel):
    """Usage of one group; a dimension is None if it is not grouped by, and so is the operation of an older record.

    `cost_picos` is the exact sum in `currency`. `cost_micros` are whole micros that sum, over the groups of a currency,
    to their exact sum rounded up once. `estimated_requests` are the `requests` with estimated tokens after a crash.
    """

    tenant_id: str | None
    project_id: str | None
    key_id: str | None
    model_id: str | None
    operation: str | None
    day: date | None
    requests: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_micros: int
    cost_picos: ExactPicos
    currency: str
    estimated_requests: int


class UsageQuery(BaseModel):
    """The queried usage: admitted at `from` or later and before `to`, grouped by `group_by` (empty: the total)."""

    model_config = ConfigDict(extra="forbid")

    end: Moment = Field(default_factory=now, alias="to", description=f"{MOMENT_FORMS}; exclusive; by default now.")
    start: Moment = Field(
        default_factory=lambda: now().replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        alias="from",
        validate_default=True,
        description=f"{MOMENT_FORMS}; by default the start of this month in UTC.",
    )
    group_by: Annotated[list[UsageDimension], SplitAtCommas] = Field(
        [UsageDimension.TENANT], description="Dimensions, separated by commas or repeated."
    )
    tenant_id: TenantId | None = Field(None, pattern=SLUG_PATTERN, description="Only this tenant's usage.")

    @field_validator("start")
    @classmethod
    def _begins_before_it_ends(cls, start: datetime, info: ValidationInfo) -> datetime:
        end = info.data.get("end")
        if end is not None and start > end:
            raise PydanticCustomError("order", "must not be later than `to` (by default it is the start of this month)")
        return start


class UsageList(BaseModel):
    """The queried time range and dimensions, and the groups in a fixed order."""

    object: Literal["list"] = "list"
    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    group_by: list[UsageDimension]
    data: list[UsageGroup]


class BucketQuery(BaseModel):
    """The common fields of OpenAI's usage and costs queries.

    Filters that the platform cannot answer (users, batches) are refused rather than ignored.
    """

    NOT_SERVED: ClassVar[Mapping[str, str]] = {
        "user_ids": "keys belong to projects and not to users, so filter by api_key_ids",
        "batch": "usage is kept by price version, so see line_items of /v1/organization/costs",
    }

    model_config = ConfigDict(extra="forbid")

    start_time: UnixSeconds
    end_time: UnixSeconds | None = Field(None, description="Exclusive; by default everything until now.")
    page: str | None = Field(None, pattern=r"^page_\d{1,12}$", description="`next_page` of the page before.")
    project_ids: Ids = []
    api_key_ids: Ids = []

    @field_validator("end_time")
    @classmethod
    def _ends_after_it_begins(cls, end_time: int | None, info: ValidationInfo) -> int | None:
        if end_time is not None and end_time <= info.data.get("start_time", -1):
            raise PydanticCustomError("order", "must be later than start_time")
        return end_time


class Bucket(BaseModel, Generic[Result]):
    """A time range in Unix seconds, its end exclusive, and its results."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[Result]


class BucketPage(BaseModel, Generic[Result]):
    """Consecutive buckets, empty ones included, and the token of the next page."""

    object: Literal["page"] = "page"
    data: list[Bucket[Result]]
    has_more: bool
    next_page: str | None


BUCKET_SECONDS = {"1m": 60, "1h": 3_600, "1d": 86_400}
_LIMITS = {"1m": (60, 1_440), "1h": (24, 168), "1d": (7, 31)}


class ModelUsageQuery(BucketQuery):
    """Query of `GET /v1/organization/usage/completions` and of `GET /v1/organization/usage/embeddings`."""

    bucket_width: Literal["1m", "1h", "1d"] = "1d"
    limit: BucketLimit = Field(
        None, ge=1, description="Buckets on a page: 1m 60 (at most 1440), 1h 24 (168), 1d 7 (31)."
    )
    group_by: list[Literal["project_id", "api_key_id", "model"]] = []
    models: Ids = []

    @field_validator("limit")
    @classmethod
    def _within_the_widths_limit(cls, limit: int | None, info: ValidationInfo) -> int | None:
        limit_max = _LIMITS[info.data.get("bucket_width", "1m")][1]
        if limit is not None and limit > limit_max:
            raise PydanticCustomError("limit", f"must be at most {limit_max} for this bucket_width")
        return limit

    @property
    def buckets_max(self) -> int:
        """The number of buckets on a page."""
        return self.limit or _LIMITS[self.bucket_width][0]


class CompletionsResult(BaseModel):
    """Tokens and requests of one group in one bucket. Cached tokens are part of the input tokens."""

    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"
    input_tokens: int
    output_tokens: int
    input_cached_tokens: int
    num_model_requests: int
    project_id: str | None
    api_key_id: str | None
    model: str | None
    user_id: None = None
    batch: None = None
    service_tier: None = None


class EmbeddingsResult(BaseModel):
    """Input tokens and requests for embeddings and rankings of one group in one bucket."""

    object: Literal["organization.usage.embeddings.result"] = "organization.usage.embeddings.result"
    input_tokens: int
    num_model_requests: int
    project_id: str | None
    api_key_id: str | None
    model: str | None
    user_id: None = None
