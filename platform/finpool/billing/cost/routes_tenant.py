"""A tenant's own costs, in the shape of the official client's `admin.organization.usage.costs`."""

from decimal import Decimal
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Response

from finpool.billing.cost import service
from finpool.billing.cost.schemas import CostsQuery, CostsResult
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.transactions import give_back
from finpool.kernel.door.web import DoorRoute, TenantSession, requires
from finpool.kernel.errors import UnsupportedQueryParameter
from finpool.metering.usage.schemas import BucketPage

router = APIRouter(tags=["costs"], route_class=DoorRoute)


@router.get(
    "/v1/organization/costs", response_model=BucketPage[CostsResult], responses=refusals(UnsupportedQueryParameter)
)
async def costs(
    actor: Annotated[Actor, Depends(requires("cost:read"))],
    session: TenantSession,
    query: Annotated[CostsQuery, Query()],
) -> Response:
    """Return the cost of usage by day; `group_by` takes project_id, api_key_id and line_item."""
    page = await service.costs(session, query, actor.tenant)
    await give_back(session)
    return Response(orjson.dumps(page.model_dump(), default=_number), media_type="application/json")


def _number(value: object) -> orjson.Fragment:
    """Return a decimal as an exact JSON number: a float would lose the last digits of large amounts."""
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} is no amount")
    return orjson.Fragment(format(value, "f"))
