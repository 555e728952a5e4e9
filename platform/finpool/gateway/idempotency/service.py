"""Idempotency keys: a repeated request gets the first one's answer, on any replica and after a crash (ADR 0034)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.gateway.call.admission import Admitted
from finpool.gateway.idempotency import repository
from finpool.gateway.idempotency.errors import (
    IdempotencyKeyReused,
    IdempotencyUnavailable,
    IdempotentRequestRunning,
    TooManyReplays,
)
from finpool.gateway.idempotency.identity import RequestIdentity, identify
from finpool.gateway.idempotency.repository import FoundRequest, GatewayRun
from finpool.gateway.idempotency.room import IdempotencyBounds, TenantRoom
from finpool.kernel import telemetry
from finpool.kernel.actor import Actor
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId, RequestId, TenantId, new_id
from finpool.kernel.logs import logger
from finpool.quota.reservation.service import Quota
from finpool.quota.schemas import RateStatus

BEAT_SECONDS = 5.0
ANSWER_SECONDS_MAX = 5.0
RETRY_SECONDS_MAX = 30
WORK_SECONDS_MAX = 5.0
REPLAYED_BYTES_MAX = 67_108_864
"""Bytes of kept answers that one replica sends to one tenant at once: each answer is whole in memory."""

_DATABASE_ERRORS = (SQLAlchemyError, PostgresError, InterfaceError, OSError)
_log = logger("gateway.idempotency")


@dataclass(frozen=True, slots=True, eq=False)
class KeyClaim:
    """The right of one request to answer for its key, until its answer is kept or the key is free again."""

    identity: RequestIdentity
    request_id: RequestId


class Idempotency:
    """The idempotency keys of one gateway process."""

    def __init__(
        self, database: Database, replica_id: ReplicaId, pepper: bytes, quota: Quota, bounds: IdempotencyBounds
    ) -> None:
        self.bounds = bounds
        self._pepper = pepper
        self._database = database
        self._quota = quota
        self._run = GatewayRun(replica_id, new_id("gateway"))
        self._room = TenantRoom(bounds)
        self._open: dict[RequestId, KeyClaim] = {}
        self._unfreed: dict[RequestId, KeyClaim] = {}
        self._replayed_bytes: dict[TenantId, int] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Free the claims of this replica's earlier runs, and renew those of this run from now on."""
        async with self._database.across_tenants() as session:
            await repository.free_earlier_runs_across_tenants(session, self._run)
        self._beating = asyncio.create_task(self._beat_periodically(), name="idempotency")

    async def end_work(self) -> None:
        """Let answers without a client finish for `WORK_SECONDS_MAX`; then cut them off, settled as far as they are."""
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=WORK_SECONDS_MAX)
            for task in late:
                task.cancel()

    async def close(self) -> None:
        """Wait until the last keys are free, then renew no claim; the next start frees the claims that are left."""
        if self._working:
            await asyncio.wait(self._working, timeout=ANSWER_SECONDS_MAX)
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating
        await self._database.close()

    def identify(self, actor: Actor, key: str, route: str, body: bytes) -> RequestIdentity:
        """Return the identity of a request with a valid body; raise `InvalidIdempotencyKey`."""
        return identify(self._pepper, actor, key, route, body)

    def rates(self, admitted: Admitted) -> dict[str, RateStatus]:
        """Return the rests of the tenant's rates."""
        return self._quota.status(admitted.subject)

    async def claim(self, admitted: Admitted, identity: RequestIdentity) -> KeyClaim | bytes:
        """Take the key for a request, or return the kept answer of an earlier one.

        A repetition counts as a request of the tenant's rates, and costs nothing. Raises `IdempotencyKeyReused`,
        `IdempotentRequestRunning`, `IdempotencyLimitExceeded`, `IdempotencyUnavailable`, or as `Quota.reserve`.
        """
        counted = await self._quota.reserve(admitted.subject, admitted.request_id, amount_picos=0, tokens=0)
        first = False
        try:
            found = await self._claim_or_answer(identity, admitted.request_id)
            first = isinstance(found, KeyClaim)
        finally:
            self._quota.release(counted, requests=0 if first else 1)  # The first one makes its own reservation.
        if not isinstance(found, KeyClaim):
            telemetry.idempotent_replays_total.add(1, {telemetry.TENANT: admitted.actor.tenant})
        return found

    async def keep(self, claim: KeyClaim, answer: bytes) -> None:
        """Store the whole answer; durable when this returns. Raises `IdempotencyUnavailable`.

        A lost connection leaves open whether it is stored, so a second one stores it or finds it there.
        """
        sealed = claim.identity.seal(answer)
        try:
            kept = await self._keep(claim, sealed)
        except IdempotencyUnavailable:
            kept = await self._keep(claim, sealed)
        if not kept:
            _log.warning("another run has taken over an idempotency key", request_id=claim.request_id)
            raise IdempotencyUnavailable
        self._room.add(claim.identity.tenant_id, kept_bytes=len(sealed))

    def end(self, claim: KeyClaim) -> None:
        """Renew a claim no more: its request has ended."""
        self._open.pop(claim.request_id, None)

    async def free(self, claim: KeyClaim) -> None:
        """Free the key of a request without a whole answer; without the database this is tried again later."""
        self.end(claim)
        self._unfreed[claim.request_id] = claim
        await self._free_rest()

    def work(self, answering: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Start the work of a claim, which goes on after its client has left."""
        task = asyncio.ensure_future(answering)
        self._working.add(task)
        task.add_done_callback(self._worked)
        return task

    @contextlib.contextmanager
    def replaying(self, tenant_id: TenantId, answer_bytes: int) -> Iterator[None]:
        """Count an answer while it is sent again; raise `TooManyReplays` above `REPLAYED_BYTES_MAX` of one tenant."""
        others = self._replayed_bytes.get(tenant_id, 0)
        if others and others + answer_bytes > REPLAYED_BYTES_MAX:
            raise TooManyReplays
        self._replayed_bytes[tenant_id] = others + answer_bytes
        try:
            yield
        finally:
            self._replayed_bytes[tenant_id] -= answer_bytes
            if self._replayed_bytes[tenant_id] == 0:
                del self._replayed_bytes[tenant_id]

    async def _claim_or_answer(self, identity: RequestIdentity, request_id: RequestId) -> KeyClaim | bytes:
        async with self._session(identity.tenant_id) as session:
            found = await repository.find(session, identity)
            claimed = False
            if found is None:
                await self._room.require(session, identity.tenant_id)
                claimed = await repository.claim(session, identity, self._run, request_id)
                if not claimed:  # Another request was faster.
                    found = await repository.find(session, identity)
        if not claimed:
            return _kept_answer(identity, found)
        self._room.add(identity.tenant_id, keys=1)
        claim = self._open[request_id] = KeyClaim(identity, request_id)
        return claim

    async def beat(self) -> None:
        """Renew the claims of running requests, and free the keys that could not be freed before."""
        await self._renew()
        await self._free_rest()

    async def _keep(self, claim: KeyClaim, sealed: bytes) -> bool:
        async with self._session(claim.identity.tenant_id) as session:
            return await repository.keep(session, claim.identity, claim.request_id, sealed)

    async def _beat_periodically(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.beat()
            except Exception:  # Go on: unrenewed claims would be taken over while their requests run.
                _log.exception("idempotency keys could not be renewed; the next round retries")

    async def _renew(self) -> None:
        if not self._open:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX), self._database.across_tenants() as session:
                await repository.renew_across_tenants(session, self._run, list(self._open))
        except _DATABASE_ERRORS as error:
            _log.warning("idempotency keys are not renewed; the database fails", error=type(error).__name__)

    async def _free_rest(self) -> None:
        for request_id, claim in list(self._unfreed.items()):
            try:
                async with self._session(claim.identity.tenant_id) as session:
                    await repository.free(session, claim.identity, request_id)
            except IdempotencyUnavailable:
                _log.warning("an idempotency key is not free yet; the next round retries", request_id=request_id)
                return
            if self._unfreed.pop(request_id, None) is not None:
                self._room.add(claim.identity.tenant_id, keys=-1)

    def _worked(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # A client that is still there gets it; otherwise nobody waits for it.

    @contextlib.asynccontextmanager
    async def _session(self, tenant_id: TenantId) -> AsyncIterator[AsyncSession]:
        """Open a tenant's transaction; raise `IdempotencyUnavailable` if the database does not answer in time."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX), self._database.for_tenant(tenant_id) as session:
                yield session
        except _DATABASE_ERRORS as error:
            _log.warning("the database of idempotency keys fails", error=type(error).__name__)
            raise IdempotencyUnavailable from error


def _kept_answer(identity: RequestIdentity, found: FoundRequest | None) -> bytes:
    """Return the answer of a found request; raise `IdempotencyKeyReused` or `IdempotentRequestRunning`.

    The proposed wait is as long as the request has run, so that repetitions become rarer. None was freed just now.
    """
    if found is None:
        raise IdempotentRequestRunning(1)
    if found.fingerprint != identity.fingerprint:
        raise IdempotencyKeyReused
    if found.answer is None:
        raise IdempotentRequestRunning(min(max(1, int(found.seconds)), RETRY_SECONDS_MAX))
    return identity.open(found.answer)
