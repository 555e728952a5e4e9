"""The bounds of one tenant's keys and kept answers, which are counted in the database every few seconds."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.gateway.idempotency import repository
from finpool.gateway.idempotency.errors import IdempotencyLimitExceeded
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.ids import TenantId

COUNT_SECONDS = 10.0
"""The age of a count at which the tenant's rows are counted again; other replicas' rows are unseen until then."""


@dataclass(frozen=True, slots=True)
class IdempotencyBounds:
    """The most keys and bytes of kept answers of one tenant, and the largest answer that is kept, in bytes."""

    keys_max: int
    tenant_bytes_max: int
    answer_bytes_max: int


@dataclass(slots=True)
class _Count:
    keys: int
    kept_bytes: int
    at: float


class TenantRoom:
    """The room of each tenant for further keys and answers."""

    def __init__(self, bounds: IdempotencyBounds) -> None:
        self._bounds = bounds
        self._counts: dict[TenantId, _Count] = {}

    async def require(self, session: AsyncSession, tenant_id: TenantId) -> None:
        """Raise `IdempotencyLimitExceeded` for a tenant that has as many keys or bytes as it may keep."""
        count, now = self._counts.get(tenant_id), monotonic_seconds()
        if count is None or now - count.at >= COUNT_SECONDS:
            count = self._counts[tenant_id] = _Count(*await repository.held_by(session, tenant_id), now)
        if count.keys >= self._bounds.keys_max:
            raise IdempotencyLimitExceeded(
                f"You have {count.keys} idempotency keys of the last 24 hours, and at most {self._bounds.keys_max} are"
                " kept. Send the request without a key, or later."
            )
        if count.kept_bytes >= self._bounds.tenant_bytes_max:
            raise IdempotencyLimitExceeded(
                f"Answers of {count.kept_bytes} bytes are kept for you, and at most {self._bounds.tenant_bytes_max}"
                " bytes are. Send the request without an Idempotency-Key, or later."
            )

    def add(self, tenant_id: TenantId, *, keys: int = 0, kept_bytes: int = 0) -> None:
        """Count what this replica has stored since the last count."""
        count = self._counts.get(tenant_id)
        if count is not None:
            count.keys += keys
            count.kept_bytes += kept_bytes
