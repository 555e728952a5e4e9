"""Authentication of credentials, and the life of tenants' keys."""

from asyncpg import PostgresError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.identity import credentials, repository
from finpool.identity.errors import CredentialUnknown, KeyNotFound, TenantSuspended
from finpool.identity.models import ApiKey, CredentialStatus
from finpool.identity.schemas import KeyChange, KeyView, NewKey
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.errors import Unavailable
from finpool.kernel.ids import KeyId, ProjectId, TenantId, new_id
from finpool.kernel.paging import ListPage, PageQuery, page_of
from finpool.tenancy import service as tenancy
from finpool.tenancy.service import TenantDirectory


class KeyDirectory:
    """Every active tenant key, in memory by digest; a `Snapshot` that loads after the `TenantDirectory` it reads."""

    def __init__(self, pepper: bytes, tenants: TenantDirectory) -> None:
        self._pepper = pepper
        self._tenants = tenants
        self._actors: dict[bytes, Actor] = {}
        self._digests: dict[TenantId, frozenset[bytes]] = {}
        self._fingerprints = credentials.Fingerprints()

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Read one tenant's keys again, or all keys for None."""
        actors = {key.digest: _actor(key) for key in await repository.active_keys_across_tenants(session, tenant_id)}
        if tenant_id is None:
            digests: dict[TenantId, set[bytes]] = {}
            for digest, actor in actors.items():
                digests.setdefault(actor.tenant, set()).add(digest)
            self._actors = actors
            self._digests = {tenant: frozenset(held) for tenant, held in digests.items()}
            return
        for digest in self._digests.get(tenant_id, frozenset()) - actors.keys():
            self._actors.pop(digest, None)
        self._actors.update(actors)
        self._digests[tenant_id] = frozenset(actors)

    def authenticate(self, credential: str) -> Actor:
        """Return the actor of a tenant's key, without a database read.

        Raises `TenantSuspended` for a valid key of a suspended tenant, and `CredentialUnknown` for every wrong key.
        """
        digest = self._fingerprints.digest(credential)
        if digest is None:
            if not credentials.well_formed(credential, Audience.TENANT):
                raise CredentialUnknown
            digest = credentials.digest(credential, self._pepper)
            if digest in self._actors:
                self._fingerprints.remember(credential, digest)
        actor = self._actors.get(digest)
        if actor is None:
            raise CredentialUnknown
        tenant = self._tenants.tenant(actor.tenant)
        if tenant is None:
            raise CredentialUnknown
        if not tenant.active:
            raise TenantSuspended
        if not self._tenants.project_active(actor.tenant, actor.project):
            raise CredentialUnknown
        return actor


def _actor(key: ApiKey) -> Actor:
    return Actor(
        audience=Audience.TENANT,
        credential_id=key.key_id,
        role=Role(key.role),
        tenant_id=TenantId(key.tenant_id),
        project_id=ProjectId(key.project_id),
    )


class PlatformTokens:
    """Operators' and regulators' tokens, read from the database at each request: these people are few."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    async def authenticate(self, audience: Audience, credential: str) -> Actor:
        """Return the actor of a token at this door.

        Raises `CredentialUnknown` for every wrong token, and `Unavailable` if the database does not answer.
        """
        if not credentials.well_formed(credential, audience):
            raise CredentialUnknown
        digest = credentials.digest(credential, self._pepper)
        try:
            async with self._database.across_tenants() as session:
                token = await repository.active_platform_token(session, digest)
        except (OSError, PostgresError, SQLAlchemyError) as error:
            raise Unavailable("The platform's database cannot be reached; nothing was done.") from error
        if token is None or Role(token.role).audience != audience:
            raise CredentialUnknown
        return Actor(audience=audience, credential_id=token.token_id, role=Role(token.role))


async def create_key(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, body: NewKey, *, pepper: bytes
) -> tuple[ApiKey, str]:
    """Create a key and return it with its secret; raises `TenantNotFound` or `ProjectNotFound`."""
    await tenancy.require_active_project(session, tenant_id, ProjectId(body.project_id))
    secret = credentials.new_credential(Audience.TENANT)
    key = ApiKey(
        tenant_id=tenant_id,
        key_id=new_id("key"),
        project_id=body.project_id,
        name=body.name,
        role=body.full_role,
        digest=credentials.digest(secret, pepper),
        hint=credentials.hint(secret),
        status=CredentialStatus.ACTIVE,
        created_at=now(),
    )
    session.add(key)
    await session.flush()
    record = {"key_id": key.key_id, "project_id": key.project_id, "name": key.name, "role": key.role}
    await audit.append(session, kind="key.created", tenant_id=tenant_id, actor=actor, body=record)
    return key, secret


async def has_key(session: AsyncSession, tenant_id: TenantId, key_id: KeyId) -> bool:
    """Tell whether the tenant has this key, active or revoked."""
    return await repository.has_key(session, tenant_id, key_id)


async def list_keys(session: AsyncSession, tenant_id: TenantId, query: PageQuery) -> ListPage[KeyView]:
    """Return a page of the tenant's keys, revoked ones included, the oldest first; raises `TenantNotFound`."""
    await tenancy.get_tenant(session, tenant_id)
    rows = await repository.keys(session, tenant_id, after=query.after, limit=query.limit + 1)
    return page_of(rows, query, KeyView.of)


async def change_key(
    session: AsyncSession, actor: Actor, tenant_id: TenantId, key_id: KeyId, body: KeyChange
) -> ApiKey:
    """Rename a key; an equal name changes nothing. Raises `TenantNotFound` or `KeyNotFound`."""
    key = await _key_for_change(session, tenant_id, key_id)
    if body.name is not None and body.name != key.name:
        key.name = body.name
        await session.flush()
        record = {"key_id": key_id, "project_id": key.project_id, "name": key.name}
        await audit.append(session, kind="key.changed", tenant_id=tenant_id, actor=actor, body=record)
    return key


async def revoke_key(session: AsyncSession, actor: Actor, tenant_id: TenantId, key_id: KeyId) -> ApiKey:
    """Revoke a key for good; a revoked key stays unchanged. Raises `TenantNotFound` or `KeyNotFound`."""
    key = await _key_for_change(session, tenant_id, key_id)
    if key.status != CredentialStatus.REVOKED:
        key.status = CredentialStatus.REVOKED
        key.revoked_at = now()
        await session.flush()
        record = {"key_id": key_id, "project_id": key.project_id}
        await audit.append(session, kind="key.revoked", tenant_id=tenant_id, actor=actor, body=record)
    return key


async def _key_for_change(session: AsyncSession, tenant_id: TenantId, key_id: KeyId) -> ApiKey:
    await tenancy.get_tenant(session, tenant_id)
    key = await repository.key_for_change(session, tenant_id, key_id)
    if key is None:
        raise KeyNotFound(key_id)
    return key
