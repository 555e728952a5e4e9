"""The pool's state changes of a model's versions, with their progress and faults."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.catalogue.errors import CatalogueInvalid
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.price.schemas import BASIS_POINTS
from finpool.catalogue.version import repository
from finpool.catalogue.version.schemas import Measurements, ModelLife, Version, VersionState
from finpool.catalogue.version.service import life, new_row
from finpool.kernel.clock import now

DECLARED = "declaration"
"""The author of a declared version's proposal and licence acceptance, in place of a person's credential."""

TEXT_MAX = 1000
_UNDER_TEST = (VersionState.DOWNLOADING, VersionState.TESTING)
_ENDED = (VersionState.DRAINING, VersionState.RETIRED)


async def declare(session: AsyncSession, model: Model, *, packaged: bool = False) -> None:
    """Insert a declared version. A model's first version is started and routed; a later one is only proposed.

    A later version that comes with the package is started and routed too, if it `_succeeds` the routed one. A declared
    version that failed before it ever served is tried again. Raises `CatalogueInvalid` if the name stands for another
    declaration.
    """
    await repository.lock_versions(session)
    held = await repository.version(session, model.id, model.version)
    if held is not None:
        if not held.declares(model, model):
            raise CatalogueInvalid(
                f"{model.id}: version '{model.version}' was declared otherwise before: give the change another version"
            )
        if held.state is VersionState.PROPOSED and held.fault and held.licence_accepted_by == DECLARED:
            await move(session, held, VersionState.DOWNLOADING, fault=None)
        return
    known = await life(session, model.id)
    is_served = not known.versions or (packaged and _succeeds(model, known))
    state = VersionState.DOWNLOADING if is_served else VersionState.PROPOSED
    row = new_row(model, model.version, model, state, DECLARED)
    if is_served:
        row.licence_accepted_by, row.licence_accepted_at = DECLARED, now()
    await repository.add(session, row)
    body: dict[str, Any] = {"model_id": model.id, "version": model.version, "sha256": row.declaration_sha256}
    await audit.append(
        session, kind="model_version.declared", tenant_id=None, actor=None, body={**body, "state": state.value}
    )
    if is_served:
        routing = await repository.add_routing(session, model.id, {model.version: BASIS_POINTS}, DECLARED)
        body = {"model_id": model.id, "number": routing.number, "shares": dict(routing.split)}
        await audit.append(session, kind="model_routing.set", tenant_id=None, actor=None, body=body)


def _succeeds(model: Model, known: ModelLife) -> bool:
    """Tell whether a declared version may take over by itself: no person routed, and weights and licence are equal."""
    if known.latest is None or known.latest.created_by != DECLARED:
        return False
    routed = [each for each in known.versions if each.version in known.latest.routed]
    return all((each.weights_sha256, each.licence) == (model.weights_sha256, model.licence) for each in routed)


async def serve(session: AsyncSession, held: Version) -> bool:
    """Move a tested version to `serving`; return False if its state has changed since it was read.

    If the declaration alone routed it, the declared versions before it end.
    """
    if not await move(session, held, VersionState.SERVING):
        return False
    known = await life(session, held.model_id)
    if known.latest is None or known.latest.created_by != DECLARED:
        return True
    for each in known.versions:
        if each.version in known.latest.split or each.licence_accepted_by != DECLARED or each.state in _ENDED:
            continue
        await move(session, each, VersionState.DRAINING if each.state is VersionState.SERVING else VersionState.RETIRED)
    return True


async def move(session: AsyncSession, held: Version, state: VersionState, **fields: Any) -> bool:
    """Move a version to `state`; return False if its state has changed since it was read."""
    changed = await repository.change(
        session, held.model_id, held.version, (held.state,), state=state, progress=None, **fields
    )
    if changed:
        body = {"model_id": held.model_id, "version": held.version, "from": held.state.value, "to": state.value}
        await audit.append(session, kind="model_version.moved", tenant_id=None, actor=None, body=body)
    return changed


async def store_progress(session: AsyncSession, held: Version, progress: str) -> None:
    """Store the progress of a step; readers of the versions are not notified."""
    await repository.change(session, held.model_id, held.version, (held.state,), progress=progress[:TEXT_MAX])


async def store_fault(session: AsyncSession, held: Version, fault: str | None) -> None:
    """Store the fault of a version that keeps its state, or None once the fault is gone."""
    stored = None if fault is None else fault[:TEXT_MAX]
    await repository.change(session, held.model_id, held.version, (held.state,), fault=stored)


async def fail(session: AsyncSession, held: Version, fault: str) -> None:
    """Move a version under test back to `proposed`, with its fault."""
    if held.state in _UNDER_TEST:
        await move(session, held, VersionState.PROPOSED, fault=fault[:TEXT_MAX])


async def passed(session: AsyncSession, held: Version, measurements: Measurements) -> bool:
    """Store the measurements of a version's test; return False if its state has changed since it was read."""
    kept: Mapping[str, Any] = measurements.model_dump(mode="json")
    # Writing the unchanged state again triggers the notification for readers of the versions.
    fields = {"state": held.state, "measurements": kept, "progress": None, "fault": None}
    return await repository.change(session, held.model_id, held.version, (held.state,), **fields)
