"""The operators' routes about the audit log: its freshness, and the events that it could not take."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from finpool.audit import quarantine
from finpool.audit.errors import AuditEntryTooLarge, EventNotSetAside
from finpool.audit.freshness import freshness
from finpool.audit.freshness_schemas import LogFreshnessView
from finpool.audit.quarantine_schemas import (
    QuarantinedEventPage,
    QuarantinedEventView,
    QuarantineQuery,
    QuarantineReviewBody,
)
from finpool.audit.schemas import SEQ_MAX
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, requires

router = APIRouter(prefix="/v1/audit-log", tags=["audit"], route_class=DoorRoute)

LogReader = Annotated[Actor, Depends(requires("log:read"))]


@router.get("/freshness")
async def read_freshness(_: LogReader, request: Request, session: SectorSession) -> LogFreshnessView:
    """Return how long events wait to enter the log, and how many could not."""
    return await freshness(session, request.app.state.audit_waiting_seconds_max)


@router.get("/quarantine")
async def list_quarantine(
    _: LogReader, session: SectorSession, query: Annotated[QuarantineQuery, Query()]
) -> QuarantinedEventPage:
    """List the events that the log could not take, each with the reason; their contents are for regulators."""
    return await quarantine.events_across_tenants(session, query, with_content=False)


@router.post("/quarantine/{outbox_id}/review", responses=refusals(EventNotSetAside, AuditEntryTooLarge))
async def review_event(
    outbox_id: Annotated[int, Path(ge=0, le=SEQ_MAX)],
    body: QuarantineReviewBody,
    actor: Annotated[Actor, Depends(requires("log:review"))],
    session: SectorSession,
) -> QuarantinedEventView:
    """Record a finding about an event in quarantine, which then counts as no fault any more."""
    return await quarantine.review_across_tenants(session, actor, outbox_id, body.finding)
