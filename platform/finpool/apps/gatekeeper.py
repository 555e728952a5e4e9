"""Authentication and authorization at the doors: identity builds the actor, policy authorizes it."""

from finpool.identity.errors import CredentialUnknown, TenantSuspended
from finpool.identity.service import KeyDirectory, PlatformTokens
from finpool.kernel.actor import Actor, Audience
from finpool.kernel.database.changes import ChangeFeed, SnapshotTooOld
from finpool.kernel.database.database import Database
from finpool.kernel.errors import CredentialMissing, Forbidden, MismatchedOrganization
from finpool.policy.service import Policy


class TenantGatekeeper:
    """The gatekeeper of the tenants' doors: it reads keys and policy from snapshots that are fresh enough."""

    errors = (SnapshotTooOld, CredentialMissing, CredentialUnknown, TenantSuspended, MismatchedOrganization, Forbidden)

    def __init__(self, feed: ChangeFeed, keys: KeyDirectory, policy: Policy) -> None:
        self._feed = feed
        self._keys = keys
        self._policy = policy

    async def authenticate(self, credential: str) -> Actor:
        """Return the actor of the key; raise `SnapshotTooOld`, `CredentialUnknown` or `TenantSuspended`."""
        self._feed.require_fresh()
        return self._keys.authenticate(credential)

    def authorize(self, actor: Actor, permission: str) -> None:
        """Raise `Forbidden` unless the policy in force grants the actor this permission."""
        self._policy.authorize(actor, permission)


class PlatformGatekeeper:
    """The gatekeeper of the operators' or the regulators' door: it reads each token from the database."""

    errors = (CredentialMissing, CredentialUnknown, Forbidden)

    def __init__(self, database: Database, audience: Audience, pepper: bytes, policy: Policy) -> None:
        self._audience = audience
        self._tokens = PlatformTokens(database, pepper)
        self._policy = policy

    async def authenticate(self, credential: str) -> Actor:
        """Return the actor of the token; raise `CredentialUnknown`, or `Unavailable` without a database."""
        return await self._tokens.authenticate(self._audience, credential)

    def authorize(self, actor: Actor, permission: str) -> None:
        """Raise `Forbidden` unless the policy grants the actor this permission."""
        self._policy.authorize(actor, permission)
