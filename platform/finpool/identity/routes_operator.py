"""Operators' routes for tenants' keys."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from finpool.audit.errors import AuditEntryTooLarge
from finpool.identity import service
from finpool.identity.errors import KeyNotFound
from finpool.identity.schemas import KEY_ID_PATTERN, CreatedKeyView, KeyChange, KeyView, NewKey
from finpool.kernel.actor import Actor
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, Page, SectorSession, TenantPath, requires
from finpool.kernel.ids import KeyId
from finpool.kernel.paging import ListPage
from finpool.tenancy.errors import ProjectNotFound, TenantNotFound

router = APIRouter(prefix="/v1/tenants/{tenant_id}/keys", tags=["keys"], route_class=DoorRoute)

KeyPath = Annotated[KeyId, Path(pattern=KEY_ID_PATTERN)]
KeyReader = Annotated[Actor, Depends(requires("key:read"))]
KeyWriter = Annotated[Actor, Depends(requires("key:write"))]


def _pepper(request: Request) -> bytes:
    pepper: bytes = request.app.state.key_pepper
    return pepper


Pepper = Annotated[bytes, Depends(_pepper)]


@router.post("", status_code=201, responses=refusals(TenantNotFound, ProjectNotFound, AuditEntryTooLarge))
async def create_key(
    tenant_id: TenantPath, body: NewKey, actor: KeyWriter, session: SectorSession, pepper: Pepper
) -> CreatedKeyView:
    """Create a key; only this answer carries its secret."""
    key, secret = await service.create_key(session, actor, tenant_id, body, pepper=pepper)
    return CreatedKeyView.with_secret(key, secret)


@router.get("", responses=refusals(TenantNotFound))
async def list_keys(tenant_id: TenantPath, _: KeyReader, session: SectorSession, query: Page) -> ListPage[KeyView]:
    """List a tenant's keys, the oldest first, without their secrets."""
    return await service.list_keys(session, tenant_id, query)


@router.patch("/{key_id}", responses=refusals(TenantNotFound, KeyNotFound, AuditEntryTooLarge))
async def change_key(
    tenant_id: TenantPath, key_id: KeyPath, body: KeyChange, actor: KeyWriter, session: SectorSession
) -> KeyView:
    """Rename a key."""
    return KeyView.of(await service.change_key(session, actor, tenant_id, key_id, body))


@router.delete("/{key_id}", responses=refusals(TenantNotFound, KeyNotFound, AuditEntryTooLarge))
async def revoke_key(tenant_id: TenantPath, key_id: KeyPath, actor: KeyWriter, session: SectorSession) -> KeyView:
    """Revoke a key for good; revoking it again changes nothing."""
    return KeyView.of(await service.revoke_key(session, actor, tenant_id, key_id))
