"""Costs in OpenAI's shape."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from finpool.kernel.paging import Ids
from finpool.metering.usage.schemas import BucketQuery


class CostsQuery(BucketQuery):
    """Query of `GET /v1/organization/costs`. A line item is a price version, whose name begins with its model's id."""

    bucket_width: Literal["1d"] = "1d"
    limit: int = Field(7, ge=1, le=180, description="Buckets on a page.")
    group_by: list[Literal["project_id", "api_key_id", "line_item"]] = Field([])
    line_items: Ids = Field([])


class Amount(BaseModel):
    """An amount in units of `currency` (ISO 4217 in lower case, as OpenAI writes it), exact."""

    value: Annotated[Decimal, WithJsonSchema({"type": "number"})]
    currency: str


class CostsResult(BaseModel):
    """The cost of one group in one day, in one currency."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: Amount
    project_id: str | None
    api_key_id: str | None
    line_item: str | None
    quantity: None = None
    quantity_unit: None = None
    user_id: None = None
