"""The regulator API's routes: institutions, usage of all of them, and the audit log."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from finpool.audit.errors import AuditEntryTooLarge
from finpool.audit.quarantine_schemas import QuarantinedEventPage, QuarantineQuery
from finpool.billing.service_share.schemas import ServiceShareList, ServiceShareQuery
from finpool.catalogue.errors import ModelNotFound
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, Page, SectorSession, requires
from finpool.kernel.paging import ListPage
from finpool.metering.usage.schemas import UsageList, UsageQuery
from finpool.oversight import service
from finpool.oversight.schemas import EntriesQuery, EntryList, InstitutionView

router = APIRouter(tags=["oversight"], route_class=DoorRoute)


@router.get("/v1/institutions", responses=refusals(AuditEntryTooLarge))
async def list_institutions(
    actor: Annotated[Actor, Depends(requires("institution:read"))], session: SectorSession, query: Page
) -> ListPage[InstitutionView]:
    """Return institutions, ordered by id, each with its contract, its projects and its use of the last 30 days."""
    return await service.institutions(session, actor, query)


@router.get("/v1/usage", responses=refusals(AuditEntryTooLarge))
async def list_usage(
    actor: Annotated[Actor, Depends(requires("usage:read"))],
    session: SectorSession,
    query: Annotated[UsageQuery, Query()],
) -> UsageList:
    """Return usage admitted between `from` and `to`, grouped as asked and always by currency."""
    return await service.usage(session, actor, query)


@router.get("/v1/models/{model_id}/service-shares", responses=refusals(ModelNotFound, AuditEntryTooLarge))
async def list_service_shares(
    model_id: str,
    request: Request,
    actor: Annotated[Actor, Depends(requires("usage:read"))],
    session: SectorSession,
    query: Annotated[ServiceShareQuery, Query()],
) -> ServiceShareList:
    """Return the service of a model's engine to each institution per time window, beside its due share."""
    return await service.service_shares(session, actor, request.app.state.catalogue, model_id, query)


@router.get("/v1/entries", responses=refusals(AuditEntryTooLarge))
async def list_entries(
    request: Request,
    actor: Annotated[Actor, Depends(requires("entry:read"))],
    session: SectorSession,
    query: Annotated[EntriesQuery, Query()],
) -> EntryList:
    """Return entries of the audit log in order, with the log's head and its freshness."""
    return await service.entries(session, actor, query, request.app.state.audit_waiting_seconds_max)


@router.get("/v1/quarantine", responses=refusals(AuditEntryTooLarge))
async def list_quarantine(
    actor: Annotated[Actor, Depends(requires("entry:read"))],
    session: SectorSession,
    query: Annotated[QuarantineQuery, Query()],
) -> QuarantinedEventPage:
    """Return the events that the audit log could not take, each with the reason."""
    return await service.quarantine(session, actor, query)
