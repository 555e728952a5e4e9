"""Reservations of one inference replica: every budget and rate of a request, or none; each ends exactly once.

A reservation is decided in memory, in one step, from the leases and rate allotments of this replica. Only if they do
not suffice it waits for the account. They are also renewed ahead in the background, so a request rarely waits.
"""

import asyncio
import contextlib

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import LeaseId, RequestId, TenantId
from finpool.kernel.logs import logger
from finpool.quota.errors import InsufficientQuota, QuotaUnavailable, RateLimitExceeded, RequestAboveLimit
from finpool.quota.limit.directory import LimitDirectory
from finpool.quota.limits import Demand, TenantLimits
from finpool.quota.reservation import refusals
from finpool.quota.reservation.allotments import ACCOUNT_SECONDS_MAX, Allotments
from finpool.quota.reservation.leases import HeldLease
from finpool.quota.reservation.rates import RateAllotment
from finpool.quota.schemas import Rate, RateStatus, Subject, rate_headers

RETURN_WAIT_SECONDS = 2.0
RETURN_POLL_SECONDS = 0.05
_log = logger("quota.service")


class Reservation:
    """The largest cost of one request, held until its settlement.

    `amount_picos` is held in each of its leases; `tokens` count against each limit of tokens per minute.
    """

    __slots__ = ("allotments", "amount_picos", "lease_ids", "request_id", "tenant_id", "tokens")

    def __init__(
        self,
        tenant_id: TenantId,
        request_id: RequestId,
        amount_picos: int,
        tokens: int,
        lease_ids: tuple[LeaseId, ...],
        allotments: tuple[RateAllotment, ...],
    ) -> None:
        self.tenant_id = tenant_id
        self.request_id = request_id
        self.amount_picos = amount_picos
        self.tokens = tokens
        self.lease_ids = lease_ids
        self.allotments = allotments


class Quota:
    """The reservations and settlements of one process, for the gateway."""

    def __init__(self, limits: LimitDirectory, allotments: Allotments) -> None:
        self._limits = limits
        self._allotments = allotments
        limits.watch(self._limits_changed)

    async def reserve(self, subject: Subject, request_id: RequestId, *, amount_picos: int, tokens: int) -> Reservation:
        """Hold the largest cost of a request in every budget and rate that applies to it.

        Raises `RateLimitExceeded`, `RequestAboveLimit`, `InsufficientQuota` or `QuotaUnavailable`, and then holds and
        counts nothing. The error names the limit, its rest and its reset.
        """
        deadline = monotonic_seconds() + RETURN_WAIT_SECONDS
        try:
            while True:
                applicable = self._limits.applicable(subject)
                if not applicable.funded:
                    raise InsufficientQuota(refusals.NO_BUDGET)
                if applicable.stopped is not None:
                    raise refusals.stopped(applicable.stopped, amount_picos)
                demand = Demand(subject.tenant_id, applicable, amount_picos, tokens)
                reserved = self._reserve_now(request_id, demand)
                if reserved is not None:
                    return reserved
                await self._make_room(demand, deadline)
        except (RateLimitExceeded, RequestAboveLimit) as error:
            error.headers |= rate_headers(self.status(subject))
            raise

    def settle(self, reservation: Reservation, *, cost_picos: int, tokens: int) -> None:
        """End a served request with its cost and its tokens; the difference to the reservation is free again."""
        self._allotments.leases.settle(reservation.lease_ids, reservation.amount_picos, cost_picos)
        self._end(reservation, requests=1, tokens=tokens)

    def release(self, reservation: Reservation, *, requests: int = 0) -> None:
        """End a request without a cost: nothing was computed. A request that an engine refused counts with `requests`
        1.
        """
        self._allotments.leases.settle(reservation.lease_ids, reservation.amount_picos, 0)
        self._end(reservation, requests=requests, tokens=0)

    def status(self, subject: Subject) -> dict[str, RateStatus]:
        """Return the rests of the subject's tightest request and token limits, by their names in the headers."""
        now, found = monotonic_seconds(), dict[str, RateStatus]()
        for key, limit in self._limits.applicable(subject).rates:
            if key.rate is not Rate.CONCURRENCY:
                status = self._allotments.rates.allotment(subject.tenant_id, key, limit).status(now)
                if key.rate not in found or status.remaining < found[key.rate].remaining:
                    found[key.rate.value] = status
        return found

    def _reserve_now(self, request_id: RequestId, demand: Demand) -> Reservation | None:
        """Take every part from this replica's leases and allotments, or none; no step waits."""
        now, tenant_id, amount_picos, tokens = monotonic_seconds(), demand.tenant_id, demand.amount_picos, demand.tokens
        held = self._allotments
        allotments: list[RateAllotment] = []
        for key, limit in demand.applicable.rates:
            allotment = held.rates.allotment(tenant_id, key, limit)
            if not allotment.fits(allotment.counted(tokens), now):
                return None
            allotments.append(allotment)
        leases: list[HeldLease] = []
        for budget in demand.applicable.budgets:
            lease = held.leases.current(tenant_id, budget, now)
            if lease.free < amount_picos:
                return None
            if lease.granted:  # A request that costs nothing needs no lease.
                leases.append(lease)
        for allotment in allotments:
            allotment.take(request_id, allotment.counted(tokens), now)
        for lease in leases:
            lease.reserve(amount_picos, now)
        held.renew_ahead(demand, leases, allotments)
        lease_ids = tuple(lease.lease_id for lease in leases)
        return Reservation(tenant_id, request_id, amount_picos, tokens, lease_ids, tuple(allotments))

    async def _make_room(self, demand: Demand, deadline: float) -> None:
        """Request the missing parts from the account; raise the refusal, or return for another try."""
        try:
            await self._allotments.ask(demand)
        except refusals.LeasesReturning as returning:
            if monotonic_seconds() > deadline:
                raise returning.refusal from None
            await asyncio.sleep(RETURN_POLL_SECONDS)
        else:
            if monotonic_seconds() > deadline + ACCOUNT_SECONDS_MAX:
                raise QuotaUnavailable  # The account grants, but this replica's limits are outdated.

    def _end(self, reservation: Reservation, *, requests: int, tokens: int) -> None:
        now = monotonic_seconds()
        for allotment in reservation.allotments:
            allotment.give_back(reservation.request_id, tokens if allotment.key.rate is Rate.TOKENS else requests, now)

    def _limits_changed(self, before: TenantLimits, after: TenantLimits) -> None:
        """Apply changed limits at once, also to leased amounts."""
        old, new = before.budget_limits(), after.budget_limits()
        changed = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
        if changed:
            self._allotments.drain(after.tenant_id, changed)
        self._allotments.relimit(after.tenant_id, after.rate_limits())

    async def run(self, idle_seconds: float) -> None:
        """Renew the heartbeat and return unused leases and rate allotments until cancelled."""
        while True:
            await asyncio.sleep(idle_seconds / 4)
            try:
                await self._allotments.heartbeat.show()
                await self._allotments.return_unused()
            except DomainError as error:  # The spool refused; the lease stays held, and the next round retries.
                _log.warning("a lease could not be returned yet", error=error.code)
            except Exception:  # Go on: unreturned leases would hold their budgets for ever.
                _log.exception("leases could not be returned; the next round retries")

    async def close(self) -> None:
        """Return every lease without a reservation; the next start returns the rest."""
        await self._allotments.wait_for_answers()
        self._allotments.leases.drain(None)
        await self._allotments.return_unused()
        with contextlib.suppress(Exception):  # Shares expire without this.
            await self._allotments.rates.leave()
            await self._allotments.heartbeat.put_out()
