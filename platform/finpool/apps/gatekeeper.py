"""Who stands at the doors: identity makes the actor, policy judges it."""

from finpool.identity.errors import CredentialUnknown, TenantSuspended
from finpool.identity.service import KeyDirectory, PlatformTokens
from finpool.kernel.actor import Actor, Audience
from finpool.kernel.changes import ChangeFeed, SnapshotTooOld
from finpool.kernel.database import Database
from finpool.kernel.errors import Forbidden, MismatchedOrganization
from finpool.policy.service import Policy


class TenantGatekeeper:
    """The tenants' doors: keys and policy come out of memory, as long as that is fresh enough to be trusted."""

    errors = (SnapshotTooOld, CredentialUnknown, TenantSuspended, MismatchedOrganization, Forbidden)

    def __init__(self, feed: ChangeFeed, keys: KeyDirectory, policy: Policy) -> None:
        self._feed = feed
        self._keys = keys
        self._policy = policy

    async def authenticate(self, credential: str) -> Actor:
        """Return whom the key stands for; raises `SnapshotTooOld`, `CredentialUnknown` or `TenantSuspended`."""
        self._feed.require_fresh()
        return self._keys.authenticate(credential)

    def authorize(self, actor: Actor, permission: str) -> None:
        """Raise `Forbidden` unless the policy in force lets the actor do this."""
        self._policy.authorize(actor, permission)


class PlatformGatekeeper:
    """The operators' or the regulators' door: each request looks its token up in the database."""

    errors = (CredentialUnknown, Forbidden)

    def __init__(self, database: Database, audience: Audience, pepper: bytes, policy: Policy) -> None:
        self._audience = audience
        self._tokens = PlatformTokens(database, pepper)
        self._policy = policy

    async def authenticate(self, credential: str) -> Actor:
        """Return whom the token stands for; raises `CredentialUnknown`, or `Unavailable` without a database."""
        return await self._tokens.authenticate(self._audience, credential)

    def authorize(self, actor: Actor, permission: str) -> None:
        """Raise `Forbidden` unless the policy lets the actor do this."""
        self._policy.authorize(actor, permission)
