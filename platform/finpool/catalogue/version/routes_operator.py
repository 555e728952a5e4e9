"""The operators' routes of a model's versions: declaration, state and share of the requests."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from finpool.audit.errors import AuditEntryTooLarge
from finpool.catalogue.errors import ModelNotFound
from finpool.catalogue.model.schemas import MODEL_ID_PATTERN, VERSION_PATTERN
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.version import service
from finpool.catalogue.version.errors import (
    LicenceNotAccepted,
    VersionExists,
    VersionNotFound,
    VersionUnfit,
    WrongState,
)
from finpool.catalogue.version.schemas import Measurements, NewRouting, NewVersion, Routing, Version
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, requires

router = APIRouter(prefix="/v1/models/{model_id}", tags=["models"], route_class=DoorRoute)

VersionReader = Annotated[Actor, Depends(requires("model:read"))]
VersionWriter = Annotated[Actor, Depends(requires("model:write"))]
ModelPath = Annotated[str, Path(pattern=MODEL_ID_PATTERN)]
VersionPath = Annotated[str, Path(pattern=VERSION_PATTERN)]


class VersionView(BaseModel):
    """A version. `share_basis_points` is its share of the requests now, `share_wished_basis_points` the target share.

    `progress` describes the current step, `fault` the reason of a failure, `measurements` the results of its test.
    """

    object: Literal["model.version"] = "model.version"
    model: str
    version: str
    state: str
    share_basis_points: int
    share_wished_basis_points: int
    licence: str
    licence_accepted_by: str | None
    licence_accepted_at: datetime | None
    weights_sha256: str
    progress: str | None
    fault: str | None
    measurements: Measurements | None
    declaration: dict[str, Any]
    proposed_by: str
    proposed_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, version: Version, now_held: Routing | None, latest: Routing | None) -> Self:
        """Return the response for a version and its model's routings."""
        return cls(
            model=version.model_id,
            version=version.version,
            state=version.state.value,
            share_basis_points=_basis_points(now_held, version),
            share_wished_basis_points=_basis_points(latest, version),
            licence=version.licence,
            licence_accepted_by=version.licence_accepted_by,
            licence_accepted_at=version.licence_accepted_at,
            weights_sha256=version.weights_sha256,
            progress=version.progress,
            fault=version.fault,
            measurements=version.measurements,
            declaration=dict(version.declaration),
            proposed_by=version.proposed_by,
            proposed_at=version.proposed_at,
            changed_at=version.changed_at,
        )


class VersionList(BaseModel):
    """A model's versions, ordered by proposal time."""

    object: Literal["list"] = "list"
    data: list[VersionView]


class RoutingView(BaseModel):
    """A routing; it takes effect once every version with a share serves."""

    object: Literal["model.routing"] = "model.routing"
    model: str
    number: int
    shares: dict[str, int]
    created_by: str
    created_at: datetime

    @classmethod
    def of(cls, routing: Routing) -> Self:
        """Return the response for a routing."""
        return cls(
            model=routing.model_id,
            number=routing.number,
            shares=dict(routing.split),
            created_by=routing.created_by,
            created_at=routing.created_at,
        )


class LicenceBody(BaseModel):
    """The accepted licence as an SPDX expression; naming it shows that the operator has read it."""

    model_config = ConfigDict(extra="forbid")

    licence: str = Field(min_length=1, max_length=512)


@router.get("/versions", responses=refusals(ModelNotFound))
async def list_versions(model_id: ModelPath, request: Request, _: VersionReader, session: SectorSession) -> VersionList:
    """List a model's versions."""
    _catalogue(request).get(model_id)
    held = await service.life(session, model_id)
    return VersionList(data=[VersionView.of(each, held.in_force, held.latest) for each in held.versions])


@router.post(
    "/versions", status_code=201, responses=refusals(ModelNotFound, VersionUnfit, VersionExists, AuditEntryTooLarge)
)
async def propose_version(
    model_id: ModelPath, body: NewVersion, request: Request, actor: VersionWriter, session: SectorSession
) -> VersionView:
    """Propose a version; its weights are fetched after its licence is accepted and it is started."""
    return await _answer(session, await service.propose(session, actor, _catalogue(request), model_id, body))


@router.post("/versions/{version}/licence", responses=refusals(VersionNotFound, LicenceNotAccepted, AuditEntryTooLarge))
async def accept_licence(
    model_id: ModelPath, version: VersionPath, body: LicenceBody, actor: VersionWriter, session: SectorSession
) -> VersionView:
    """Accept a version's licence."""
    return await _answer(session, await service.accept_licence(session, actor, model_id, version, body.licence))


@router.post(
    "/versions/{version}/start", responses=refusals(VersionNotFound, WrongState, LicenceNotAccepted, AuditEntryTooLarge)
)
async def start_version(
    model_id: ModelPath, version: VersionPath, actor: VersionWriter, session: SectorSession
) -> VersionView:
    """Fetch, load and test a version; it gets requests only after a routing to it."""
    return await _answer(session, await service.start(session, actor, model_id, version))


@router.post("/versions/{version}/retire", responses=refusals(VersionNotFound, WrongState, AuditEntryTooLarge))
async def retire_version(
    model_id: ModelPath, version: VersionPath, actor: VersionWriter, session: SectorSession
) -> VersionView:
    """Retire a version without requests: its running answers are finished, then its engine ends."""
    return await _answer(session, await service.retire(session, actor, model_id, version))


@router.post(
    "/versions/{version}/promote", status_code=201, responses=refusals(VersionNotFound, WrongState, AuditEntryTooLarge)
)
async def promote_version(
    model_id: ModelPath, version: VersionPath, actor: VersionWriter, session: SectorSession
) -> RoutingView:
    """Route every request to a version; versions that had a share stay loaded."""
    return RoutingView.of(await service.promote(session, actor, model_id, version))


@router.post(
    "/routing", status_code=201, responses=refusals(ModelNotFound, VersionNotFound, WrongState, AuditEntryTooLarge)
)
async def set_routing(
    model_id: ModelPath, body: NewRouting, request: Request, actor: VersionWriter, session: SectorSession
) -> RoutingView:
    """Set the versions' shares of the requests, in basis points."""
    _catalogue(request).get(model_id)
    return RoutingView.of(await service.route(session, actor, model_id, body.shares))


@router.post(
    "/routing/rollback",
    status_code=201,
    responses=refusals(ModelNotFound, VersionNotFound, WrongState, AuditEntryTooLarge),
)
async def roll_back(model_id: ModelPath, request: Request, actor: VersionWriter, session: SectorSession) -> RoutingView:
    """Restore the routing before the latest change."""
    _catalogue(request).get(model_id)
    return RoutingView.of(await service.roll_back(session, actor, model_id))


async def _answer(session: SectorSession, version: Version) -> VersionView:
    held = await service.life(session, version.model_id)
    return VersionView.of(version, held.in_force, held.latest)


def _catalogue(request: Request) -> Catalogue:
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue


def _basis_points(routing: Routing | None, version: Version) -> int:
    return 0 if routing is None else routing.split.get(version.version, 0)
