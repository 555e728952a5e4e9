"""The reads of supervisors. Each read is itself recorded in the audit log with its parameters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.audit.freshness import freshness
from finpool.audit.quarantine import events_across_tenants
from finpool.audit.quarantine_schemas import QuarantinedEventPage, QuarantineQuery
from finpool.billing.service_share import service as service_share_service
from finpool.billing.service_share.schemas import ServiceShareList, ServiceShareQuery
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId
from finpool.kernel.paging import ListPage, PageQuery, page_of
from finpool.metering.usage import service as metering
from finpool.metering.usage.schemas import UsageList, UsageQuery
from finpool.oversight import repository
from finpool.oversight.schemas import EntriesQuery, EntryList, InstitutionView, RecentUse

_RECENT = timedelta(days=30)


async def institutions(session: AsyncSession, actor: Actor, query: PageQuery) -> ListPage[InstitutionView]:
    """Return a page of the institutions, ordered by id."""
    await _record_read(session, actor, "institutions", query.model_dump(mode="json"))
    since = now() - _RECENT
    rows = await repository.institutions_across_tenants(session, since=since, after=query.after, limit=query.limit + 1)
    return page_of(rows, query, _institution)


async def usage(session: AsyncSession, actor: Actor, query: UsageQuery) -> UsageList:
    """Return usage over all tenants, the same numbers that operators and tenants see."""
    await _record_read(session, actor, "usage", query.model_dump(mode="json", by_alias=True))
    groups = await metering.usage(
        session, start=query.start, end=query.end, group_by=query.group_by, tenant_id=query.tenant_id
    )
    return UsageList(start=query.start, end=query.end, group_by=query.group_by, data=groups)


async def service_shares(
    session: AsyncSession, actor: Actor, catalogue: Catalogue, model_id: str, query: ServiceShareQuery
) -> ServiceShareList:
    """Return the service that each tenant got from a model's engine, the same numbers that operators see."""
    parameters = {"model_id": model_id, **query.model_dump(mode="json", by_alias=True)}
    await _record_read(session, actor, "service_shares", parameters)
    return await service_share_service.service_shares_across_tenants(session, catalogue, model_id, query)


async def entries(session: AsyncSession, actor: Actor, query: EntriesQuery, waiting_seconds_max: float) -> EntryList:
    """Return a page of the audit log, with its head and its freshness."""
    await _record_read(session, actor, "entries", query.model_dump(mode="json"))
    page = await audit.entries(session, after=query.after, limit=query.limit, tenant_id=query.tenant_id)
    full = len(page.entries) == query.limit
    return EntryList(
        data=page.entries,
        head=page.head,
        next=page.entries[-1].seq if full else None,
        freshness=await freshness(session, waiting_seconds_max),
    )


async def quarantine(session: AsyncSession, actor: Actor, query: QuarantineQuery) -> QuarantinedEventPage:
    """Return a page of the events that the audit log could not take."""
    await _record_read(session, actor, "quarantine", query.model_dump(mode="json"))
    return await events_across_tenants(session, query, with_content=True)


async def _record_read(session: AsyncSession, actor: Actor, resource: str, parameters: Mapping[str, Any]) -> None:
    """Record the read without a tenant, even if it concerns one: a bank must not learn that it is examined."""
    body = {"resource": resource, "parameters": dict(parameters)}
    await audit.append(session, kind="regulator.read", tenant_id=None, actor=actor, body=body)


def _institution(row: RowMapping) -> InstitutionView:
    return InstitutionView(
        id=TenantId(row["tenant_id"]),
        name=row["name"],
        status=row["status"],
        models=row["models"],
        projects=row["projects"],
        created_at=int(row["created_at"].timestamp()),
        first_used_at=_unix_seconds(row["first_used_at"]),
        last_used_at=_unix_seconds(row["last_used_at"]),
        last_30_days=RecentUse(
            requests=row["requests"],
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
        ),
    )


def _unix_seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
