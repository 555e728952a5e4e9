"""Service shares as evidence of fairness, computed from usage records and contracts, so that others can check them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.contract import service as contracts
from finpool.billing.service_share.figures import claim, entitled_shares, share_figures
from finpool.billing.service_share.schemas import (
    OwnServiceShareList,
    OwnServiceShareQuery,
    OwnServiceWindow,
    ServiceShareList,
    ServiceShareQuery,
    ServiceWindow,
    TenantShare,
)
from finpool.catalogue.errors import ModelNotFound
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue
from finpool.kernel.ids import TenantId

_SERVED = text("SELECT * FROM service_by_window(:models, :start, :end, :seconds)")

_OWN = text("SELECT * FROM own_service_by_window(:models, :first, :end, :seconds)")
"""Filters by the session's tenant; without one the database refuses."""


async def service_shares_across_tenants(
    session: AsyncSession, catalogue: Catalogue, model_id: str, query: ServiceShareQuery
) -> ServiceShareList:
    """Return the service of a model's engine by window and tenant; raise `ModelNotFound`.

    Windows begin at whole multiples of their length since 1970; the first and the last are cut to the queried range. A
    window uses the contracts in force at its start.
    """
    model = catalogue.get(model_id)
    models = [each.id for each in _beside(catalogue, model)]
    parameters = {"models": models, "start": query.start, "end": query.end, "seconds": query.window_seconds}
    rows = (await session.execute(_SERVED, parameters)).mappings().all()
    return ServiceShareList(
        engine=model.engine_id,
        models=models,
        window_seconds=query.window_seconds,
        data=[_window(number, list(each), query) for number, each in groupby(rows, _number)],
    )


async def own_service_shares(
    session: AsyncSession, catalogue: Catalogue, tenant_id: TenantId, model_id: str, query: OwnServiceShareQuery
) -> OwnServiceShareList:
    """Return a tenant's own part of an engine's service in each window with service to the tenant.

    Only whole windows are shown, a minute after their end. Raises `ModelNotFound` for a model that the tenant may not
    use.
    """
    model = catalogue.get(model_id)
    beside = _beside(catalogue, model)
    usable = [each.id for each in await contracts.usable_models(session, tenant_id, beside)]
    if model.id not in usable:
        raise ModelNotFound(model_id)
    seconds = query.window_seconds
    first, end = (int(moment.timestamp() // seconds) for moment in (query.start, query.end))
    parameters = {"models": [each.id for each in beside], "first": first, "end": end, "seconds": seconds}
    rows = (await session.execute(_OWN, parameters)).mappings().all()
    return OwnServiceShareList(
        model=model.id,
        models=usable,
        window_seconds=seconds,
        data=[_own_window(row, seconds) for row in rows],
    )


def _beside(catalogue: Catalogue, model: Model) -> list[Model]:
    """Return all models of the model's engine, itself included."""
    return [each for each in catalogue.all() if each.engine_id == model.engine_id]


def _number(row: RowMapping) -> int:
    number: int = row["number"]
    return number


def _window(number: int, rows: Sequence[RowMapping], query: ServiceShareQuery) -> ServiceWindow:
    start, end = _limits(number, query.window_seconds)
    service = sum(row["service"] for row in rows)
    due = entitled_shares([claim(row["service_weight"], row["service_share_min_basis_points"]) for row in rows])
    return ServiceWindow(
        start=max(start, query.start),
        end=min(end, query.end),
        service=service,
        tenants=[
            TenantShare(tenant_id=row["tenant_id"], **share_figures(row, service, entitled).model_dump())
            for row, entitled in zip(rows, due, strict=True)
        ],
    )


def _own_window(row: RowMapping, window_seconds: int) -> OwnServiceWindow:
    start, end = _limits(row["number"], window_seconds)
    others = zip(
        row["service_weights_of_others"] or (), row["service_shares_min_basis_points_of_others"] or (), strict=True
    )
    own = claim(row["service_weight"], row["service_share_min_basis_points"])
    entitled, *_ = entitled_shares([own, *(claim(weight, points) for weight, points in others)])
    figures = share_figures(row, row["service_of_all"], entitled)
    return OwnServiceWindow(start=start, end=end, **figures.model_dump())


def _limits(number: int, window_seconds: int) -> tuple[datetime, datetime]:
    start = datetime.fromtimestamp(number * window_seconds, UTC)
    return start, start + timedelta(seconds=window_seconds)
