"""Queries on requests with an `Idempotency-Key`. The database's clock decides about every end."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, CursorResult, Interval, cast, delete, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.gateway.idempotency.identity import RequestIdentity
from finpool.gateway.idempotency.models import IdempotentRequest
from finpool.kernel.database.locks import LockName, try_lock
from finpool.kernel.database.tenant_rows import delete_of, rows_of, update_of
from finpool.kernel.ids import ReplicaId, RequestId, TenantId

LIFE = timedelta(hours=24)
HOLD = timedelta(seconds=30)
"""A claim that its run does not renew for this long is free for another run."""


@dataclass(frozen=True, slots=True)
class GatewayRun:
    """One run of a replica's gateway; a run that starts frees the claims of its replica's earlier runs."""

    replica_id: ReplicaId
    run_id: str


@dataclass(frozen=True, slots=True)
class FoundRequest:
    """A request that holds its key: still running for `seconds`, or with its sealed answer."""

    fingerprint: bytes
    seconds: float
    answer: bytes | None


def _clock() -> ColumnElement[object]:
    return func.clock_timestamp()


def _after(age: timedelta) -> ColumnElement[object]:
    return func.clock_timestamp() + cast(literal(age), Interval)


def _is_free() -> ColumnElement[bool]:
    """Return the condition of a row that any run may replace: it has expired, or its run has died."""
    unanswered = col(IdempotentRequest.answer).is_(None) & (col(IdempotentRequest.held_until) <= _clock())
    return (col(IdempotentRequest.expires_at) <= _clock()) | unanswered


async def find(session: AsyncSession, identity: RequestIdentity) -> FoundRequest | None:
    """Return the request that holds the key, None if any run may take it."""
    seconds = func.extract("epoch", _clock() - col(IdempotentRequest.claimed_at))
    query = (
        rows_of(identity.tenant_id, IdempotentRequest)
        .with_only_columns(col(IdempotentRequest.fingerprint), seconds, col(IdempotentRequest.answer))
        .where(col(IdempotentRequest.key_digest) == identity.key_digest, ~_is_free())
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else FoundRequest(row[0], float(row[1]), row[2])


async def held_by(session: AsyncSession, tenant_id: TenantId) -> tuple[int, int]:
    """Return the number of a tenant's keys and the bytes of its kept answers."""
    bytes_kept = func.coalesce(func.sum(func.octet_length(col(IdempotentRequest.answer))), 0)
    query = (
        rows_of(tenant_id, IdempotentRequest)
        .with_only_columns(func.count(), bytes_kept)
        .where(col(IdempotentRequest.expires_at) > _clock())
    )
    keys, kept = (await session.execute(query)).one()
    return int(keys), int(kept)


async def claim(session: AsyncSession, identity: RequestIdentity, run: GatewayRun, request_id: RequestId) -> bool:
    """Take the key for a request of this run, unless another request holds it."""
    values = {
        "fingerprint": identity.fingerprint,
        "request_id": request_id,
        "replica_id": run.replica_id,
        "run_id": run.run_id,
        "claimed_at": _clock(),
        "held_until": _after(HOLD),
        "expires_at": _after(LIFE),
        "answer": None,
    }
    new = insert(IdempotentRequest).values(tenant_id=identity.tenant_id, key_digest=identity.key_digest, **values)
    taken = new.on_conflict_do_update(
        index_elements=["tenant_id", "key_digest"], set_={name: new.excluded[name] for name in values}, where=_is_free()
    )
    return (await session.execute(taken.returning(col(IdempotentRequest.request_id)))).one_or_none() is not None


async def keep(session: AsyncSession, identity: RequestIdentity, request_id: RequestId, sealed: bytes) -> bool:
    """Store a sealed answer, perhaps again; returns False if another run has taken the key in the meantime."""
    statement = (
        update_of(identity.tenant_id, IdempotentRequest)
        .where(
            col(IdempotentRequest.key_digest) == identity.key_digest,
            col(IdempotentRequest.request_id) == request_id,
            col(IdempotentRequest.answer).is_(None) | (col(IdempotentRequest.answer) == sealed),
        )
        .values(answer=sealed)
    )
    result = await session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - an update returns no rows.
    return result.rowcount == 1


async def free(session: AsyncSession, identity: RequestIdentity, request_id: RequestId) -> None:
    """Delete a request that has no answer for its client, so that the key can be used anew."""
    statement = delete_of(identity.tenant_id, IdempotentRequest).where(
        col(IdempotentRequest.key_digest) == identity.key_digest, col(IdempotentRequest.request_id) == request_id
    )
    await session.execute(statement)


async def renew_across_tenants(session: AsyncSession, run: GatewayRun, request_ids: Collection[RequestId]) -> None:
    """Hold the claims of this run's open requests for another `HOLD`."""
    statement = (
        update(IdempotentRequest)
        .where(
            col(IdempotentRequest.replica_id) == run.replica_id,
            col(IdempotentRequest.run_id) == run.run_id,
            col(IdempotentRequest.request_id).in_(request_ids),
            col(IdempotentRequest.answer).is_(None),
        )
        .values(held_until=_after(HOLD))
    )
    await session.execute(statement)


async def free_earlier_runs_across_tenants(session: AsyncSession, run: GatewayRun) -> None:
    """Free the claims of this replica's earlier runs, which have ended."""
    statement = delete(IdempotentRequest).where(
        col(IdempotentRequest.replica_id) == run.replica_id,
        col(IdempotentRequest.run_id) != run.run_id,
        col(IdempotentRequest.answer).is_(None),
    )
    await session.execute(statement)


async def purge_across_tenants(session: AsyncSession, rows_max: int) -> int:
    """Delete the oldest expired requests, unless another worker does so now; returns their number."""
    if not await try_lock(session, LockName.EXPIRED_REQUESTS):
        return 0
    names = (col(IdempotentRequest.tenant_id), col(IdempotentRequest.key_digest))
    expired = (
        select(*names)
        .where(col(IdempotentRequest.expires_at) <= _clock())
        .order_by(col(IdempotentRequest.expires_at))
        .limit(rows_max)
    )
    result = await session.execute(delete(IdempotentRequest).where(tuple_(*names).in_(expired)))
    assert isinstance(result, CursorResult)  # noqa: S101 - a deletion returns no rows.
    return result.rowcount
