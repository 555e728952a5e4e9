"""Queries on versions and routings; neither belongs to a tenant."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.catalogue.version.models import ModelRouting, ModelVersion
from finpool.catalogue.version.schemas import Measurements, Routing, Version, VersionState
from finpool.kernel.clock import now
from finpool.kernel.database.locks import LockName, lock


async def lock_versions(session: AsyncSession) -> None:
    """Lock all versions and routings until the transaction ends, so that decisions on them are serial.

    One lock serves all models: operators and the pool decide rarely, and in milliseconds.
    """
    await lock(session, LockName.MODEL_VERSIONS)


async def versions(session: AsyncSession, model_id: str | None = None) -> list[Version]:
    """Return a model's versions, or all for None, ordered by proposal time."""
    query = select(ModelVersion).order_by(col(ModelVersion.proposed_at), col(ModelVersion.version))
    if model_id is not None:
        query = query.where(col(ModelVersion.model_id) == model_id)
    return [_version(row) for row in (await session.execute(query)).scalars()]


async def version(session: AsyncSession, model_id: str, name: str) -> Version | None:
    """Return one version, or None if no version has this name."""
    query = select(ModelVersion).where(col(ModelVersion.model_id) == model_id, col(ModelVersion.version) == name)
    row = (await session.execute(query)).scalar_one_or_none()
    return None if row is None else _version(row)


async def add(session: AsyncSession, row: ModelVersion) -> bool:
    """Insert a new version; return False if its name is taken."""
    values = row.model_dump()
    statement = insert(ModelVersion).values(values).on_conflict_do_nothing().returning(col(ModelVersion.version))
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def change(
    session: AsyncSession, model_id: str, name: str, expected: Collection[VersionState], **fields: Any
) -> bool:
    """Update a version that is in one of the states `expected`; return False if it is not."""
    statement = (
        update(ModelVersion)
        .where(
            col(ModelVersion.model_id) == model_id,
            col(ModelVersion.version) == name,
            col(ModelVersion.state).in_(list(expected)),
        )
        .values(**fields, changed_at=now())
        .returning(col(ModelVersion.version))
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def routings(session: AsyncSession, model_id: str | None = None) -> list[Routing]:
    """Return a model's routings, or all for None, the latest first."""
    query = select(ModelRouting).order_by(col(ModelRouting.number).desc())
    if model_id is not None:
        query = query.where(col(ModelRouting.model_id) == model_id)
    return [_routing(row) for row in (await session.execute(query)).scalars()]


async def add_routing(session: AsyncSession, model_id: str, split: dict[str, int], created_by: str) -> Routing:
    """Insert the next routing of a model; the caller holds the model's lock."""
    latest = select(func.max(ModelRouting.number)).where(col(ModelRouting.model_id) == model_id)
    number = ((await session.execute(latest)).scalar_one() or 0) + 1
    row = ModelRouting(model_id=model_id, number=number, shares=split, created_by=created_by, created_at=now())
    await session.execute(insert(ModelRouting).values(row.model_dump()))
    return _routing(row)


def _version(row: ModelVersion) -> Version:
    measured = row.measurements
    return Version(
        model_id=row.model_id,
        version=row.version,
        declaration=row.declaration,
        weights_sha256=row.weights_sha256,
        licence=row.licence,
        state=VersionState(row.state),
        licence_accepted_by=row.licence_accepted_by,
        licence_accepted_at=row.licence_accepted_at,
        progress=row.progress,
        fault=row.fault,
        measurements=None if measured is None else Measurements.model_validate(measured),
        proposed_by=row.proposed_by,
        proposed_at=row.proposed_at,
        changed_at=row.changed_at,
    )


def _routing(row: ModelRouting) -> Routing:
    return Routing(row.model_id, row.number, dict(row.shares), row.created_by, row.created_at)
