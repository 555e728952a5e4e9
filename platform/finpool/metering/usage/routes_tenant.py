"""A tenant's own usage, in the shapes of the official client's `admin.organization.usage`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, TenantSession, requires
from finpool.kernel.errors import UnsupportedQueryParameter
from finpool.metering.usage import service
from finpool.metering.usage.schemas import BucketPage, CompletionsResult, EmbeddingsResult, ModelUsageQuery

router = APIRouter(tags=["usage"], route_class=DoorRoute)


@router.get("/v1/organization/usage/completions", responses=refusals(UnsupportedQueryParameter))
async def completions_usage(
    actor: Annotated[Actor, Depends(requires("usage:read"))],
    session: TenantSession,
    query: Annotated[ModelUsageQuery, Query()],
) -> BucketPage[CompletionsResult]:
    """Return tokens and requests in time buckets; `group_by` takes project_id, api_key_id and model.

    Embeddings and rankings are not among them; `usage/embeddings` has those.
    """
    return await service.completions(session, query, actor.tenant)


@router.get("/v1/organization/usage/embeddings", responses=refusals(UnsupportedQueryParameter))
async def embeddings_usage(
    actor: Annotated[Actor, Depends(requires("usage:read"))],
    session: TenantSession,
    query: Annotated[ModelUsageQuery, Query()],
) -> BucketPage[EmbeddingsResult]:
    """Return tokens and requests for embeddings and rankings, in buckets and groups as `usage/completions` does."""
    return await service.embeddings(session, query, actor.tenant)
