"""The operators' actions on a model's versions; each is audited in its own transaction."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.catalogue.model.engine import OpenAiEngine, VllmEngine
from finpool.catalogue.model.schemas import Model, Served
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.price.schemas import BASIS_POINTS
from finpool.catalogue.version import repository
from finpool.catalogue.version.errors import (
    LicenceNotAccepted,
    VersionExists,
    VersionNotFound,
    VersionUnfit,
    WrongState,
)
from finpool.catalogue.version.models import ModelVersion
from finpool.catalogue.version.schemas import (
    ModelLife,
    NewVersion,
    Routing,
    Version,
    VersionState,
    declaration_of,
    declaration_sha256,
)
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.faults import words_of

_STATES = frozenset(VersionState)


async def life(session: AsyncSession, model_id: str) -> ModelLife:
    """Return a model's versions and routings."""
    return ModelLife.of(await repository.versions(session, model_id), await repository.routings(session, model_id))


async def lives(session: AsyncSession) -> dict[str, ModelLife]:
    """Return the versions and routings of every model that has a version."""
    versions: defaultdict[str, list[Version]] = defaultdict(list)
    for version in await repository.versions(session):
        versions[version.model_id].append(version)
    routings: defaultdict[str, list[Routing]] = defaultdict(list)
    for routing in await repository.routings(session):
        routings[routing.model_id].append(routing)
    return {model_id: ModelLife.of(versions[model_id], routings[model_id]) for model_id in versions}


async def propose(session: AsyncSession, actor: Actor, catalogue: Catalogue, model_id: str, new: NewVersion) -> Version:
    """Propose a version; an equal proposal changes nothing. Raises `VersionExists` or `VersionUnfit`."""
    model = catalogue.get(model_id)
    _require_fit(catalogue, model, new)
    row = new_row(model, new.version, new, VersionState.PROPOSED, actor.credential_id)
    if not await repository.add(session, row):
        held = await _held(session, model_id, new.version)
        if not held.declares(new, model):
            raise VersionExists(model_id, new.version)
        return held
    await _record(session, actor, "model_version.proposed", model_id, new.version, sha256=row.declaration_sha256)
    return await _held(session, model_id, new.version)


async def accept_licence(session: AsyncSession, actor: Actor, model_id: str, name: str, licence: str) -> Version:
    """Accept a version's licence by its SPDX expression; raise `LicenceNotAccepted` if the declared one differs."""
    held = await _held(session, model_id, name)
    if licence != held.licence:
        raise LicenceNotAccepted(f"The licence of this version is {held.licence}, not {licence}.", param="licence")
    if held.licence_accepted_at is None:
        accepted = {"licence_accepted_by": actor.credential_id, "licence_accepted_at": now()}
        await repository.change(session, model_id, name, _STATES, **accepted)
        await _record(session, actor, "model_version.licence_accepted", model_id, name, licence=licence)
    return await _held(session, model_id, name)


async def start(session: AsyncSession, actor: Actor, model_id: str, name: str) -> Version:
    """Start a version: the pool fetches, loads and tests it. A running version stays unchanged.

    Raises `LicenceNotAccepted`, or `WrongState` for a draining version.
    """
    await repository.lock_versions(session)
    held = await _held(session, model_id, name)
    if held.licence_accepted_at is None:
        raise LicenceNotAccepted(f"Accept the licence of this version first: {held.licence}.")
    if held.state is VersionState.DRAINING:
        raise WrongState("The version is being drained: route requests to it, or wait until it is retired.")
    if held.state in (VersionState.PROPOSED, VersionState.RETIRED):
        await _move(session, actor, held, VersionState.DOWNLOADING)
    return await _held(session, model_id, name)


async def route(session: AsyncSession, actor: Actor, model_id: str, split: Mapping[str, int]) -> Routing:
    """Set the split of a model's requests; it takes effect once every version that gets requests serves.

    A retired version is started again. Raises `VersionNotFound`, or `WrongState` for a version that was never started.
    """
    await repository.lock_versions(session)
    held = {each.version: each for each in await repository.versions(session, model_id)}
    for name in split:
        if name not in held:
            raise VersionNotFound(model_id, name)
        version = held[name]
        if version.state is VersionState.PROPOSED:
            raise WrongState(f"The version '{name}' was not started.", param="shares")
        if version.state is VersionState.RETIRED:
            await _move(session, actor, version, VersionState.DOWNLOADING)
        elif version.state is VersionState.DRAINING:
            await _move(session, actor, version, VersionState.SERVING)
    routing = await repository.add_routing(session, model_id, dict(split), actor.credential_id)
    body = {"model_id": model_id, "number": routing.number, "shares": dict(split)}
    await audit.append(session, kind="model_routing.set", tenant_id=None, actor=actor, body=body)
    return routing


async def promote(session: AsyncSession, actor: Actor, model_id: str, name: str) -> Routing:
    """Route every request to one version; those of the latest routing stay loaded, so that a rollback is fast."""
    latest = (await life(session, model_id)).latest
    others = dict.fromkeys(latest.split if latest is not None else (), 0)
    return await route(session, actor, model_id, {**others, name: BASIS_POINTS})


async def roll_back(session: AsyncSession, actor: Actor, model_id: str) -> Routing:
    """Restore the routing before the latest change; a second call undoes the first. Raises `WrongState` without one."""
    routings = await repository.routings(session, model_id)
    if len(routings) < 2:
        raise WrongState("There is no earlier routing to go back to.")
    return await route(session, actor, model_id, routings[1].split)


async def retire(session: AsyncSession, actor: Actor, model_id: str, name: str) -> Version:
    """Retire a version: its running answers are finished, then its engine ends. Raises `WrongState` if it is routed."""
    await repository.lock_versions(session)
    held, now_held = await _held(session, model_id, name), await life(session, model_id)
    if any(routing is not None and name in routing.routed for routing in (now_held.in_force, now_held.latest)):
        raise WrongState("Requests go to this version: route them elsewhere first.")
    if held.state is VersionState.SERVING:
        await _move(session, actor, held, VersionState.DRAINING)
    elif held.state is not VersionState.DRAINING:
        await _move(session, actor, held, VersionState.RETIRED)
    return await _held(session, model_id, name)


def fitted(model: Model, served: Served) -> Model:
    """Return `model` with the declaration of `served`; raise pydantic's `ValidationError` if they do not fit."""
    return Model.model_validate({**model.model_dump(mode="json"), **declaration_of(served)})


def new_row(model: Model, name: str, served: Served, state: VersionState, by: str) -> ModelVersion:
    """Return the first row of a version."""
    declaration, at = declaration_of(served), now()
    weights = fitted(model, served).weights_sha256
    return ModelVersion(
        model_id=model.id,
        version=name,
        declaration=declaration,
        declaration_sha256=declaration_sha256(declaration),
        weights_sha256=weights,
        licence=served.licence,
        state=state,
        proposed_by=by,
        proposed_at=at,
        changed_at=at,
    )


def _require_fit(catalogue: Catalogue, model: Model, new: NewVersion) -> None:
    if model.base is not None:
        raise VersionUnfit(f"'{model.id}' is an adapter: declare a changed one under another id.")
    if isinstance(model.engine, OpenAiEngine) or isinstance(new.engine, OpenAiEngine):
        raise VersionUnfit("A remote engine has no versions on this platform.", param="engine")
    try:
        fitted(model, new)
    except ValidationError as error:
        raise VersionUnfit("; ".join(words_of(fault) for fault in error.errors())) from error
    takes_adapters = isinstance(new.engine, VllmEngine) and new.engine.lora is not None
    if catalogue.adapters_of(model.id) and not takes_adapters:
        raise VersionUnfit(f"'{model.id}' has adapters, and this engine takes none.", param="engine")


async def _held(session: AsyncSession, model_id: str, name: str) -> Version:
    held = await repository.version(session, model_id, name)
    if held is None:
        raise VersionNotFound(model_id, name)
    return held


async def _move(session: AsyncSession, actor: Actor, held: Version, state: VersionState) -> None:
    expected: Collection[VersionState] = (held.state,)
    if not await repository.change(session, held.model_id, held.version, expected, state=state, fault=None):
        raise WrongState("The version has just changed: look at it again.")
    moved = {"from": held.state.value, "to": state.value}
    await _record(session, actor, "model_version.moved", held.model_id, held.version, **moved)


async def _record(session: AsyncSession, actor: Actor, kind: str, model_id: str, name: str, **more: str) -> None:
    body = {"model_id": model_id, "version": name, **more}
    await audit.append(session, kind=kind, tenant_id=None, actor=actor, body=body)
