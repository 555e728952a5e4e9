"""The life of operators' and regulators' tokens. Only the schema's owner issues and revokes them.

No API can, so an intruder in the operator API cannot issue a token.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.identity import credentials, repository
from finpool.identity.errors import TokenNotFound
from finpool.identity.models import CredentialStatus, PlatformToken
from finpool.kernel.actor import Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.errors import InvalidRequest
from finpool.kernel.ids import new_id
from finpool.kernel.names import plain_name


async def issue_platform_token(session: AsyncSession, role: Role, name: str, *, pepper: bytes) -> tuple[str, str]:
    """Create a token for an operator or a regulator and return its id and secret; the secret is shown once.

    Raises `InvalidRequest` for a name with invisible characters, and ValueError for a tenant's role.
    """
    if role.audience == Audience.TENANT:
        raise ValueError(f"{role} is a tenant's role: tenants have keys, not platform tokens")
    try:
        name = plain_name(name)
    except ValueError as error:
        raise InvalidRequest(f"name: {error}", param="name") from error
    secret = credentials.new_credential(role.audience)
    token = PlatformToken(
        token_id=new_id("token"),
        name=name,
        role=role,
        digest=credentials.digest(secret, pepper),
        status=CredentialStatus.ACTIVE,
        created_at=now(),
    )
    session.add(token)
    await session.flush()
    await _record(session, "token.issued", token)
    return token.token_id, secret


async def list_platform_tokens(session: AsyncSession) -> Sequence[PlatformToken]:
    """Return every token, revoked ones included, the oldest first."""
    return await repository.platform_tokens(session)


async def revoke_platform_token(session: AsyncSession, token_id: str) -> PlatformToken:
    """Revoke a token for good, from its next request on; revoking it again changes nothing. Raises `TokenNotFound`."""
    token = await repository.platform_token_for_change(session, token_id)
    if token is None:
        raise TokenNotFound(token_id)
    if token.status == CredentialStatus.ACTIVE:
        token.status = CredentialStatus.REVOKED
        await session.flush()
        await _record(session, "token.revoked", token)
    return token


async def _record(session: AsyncSession, kind: str, token: PlatformToken) -> None:
    body = {"token_id": token.token_id, "name": token.name, "role": token.role}
    await audit.append(session, kind=kind, tenant_id=None, actor=None, body=body)
