"""Quota: what an operator sets, and what one inference replica reserves and settles against it."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.kernel.actor import Actor
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.ids import LeaseId, RequestId, TenantId
from finpool.kernel.money import to_micros_ceiling
from finpool.quota import repository
from finpool.quota.errors import RateLimitExceeded, RequestAboveLimit
from finpool.quota.leases import Leases
from finpool.quota.models import Account
from finpool.quota.rates import TenantRates
from finpool.quota.schemas import AccountView, Limits, RateStatus, Reservation, rate_headers
from finpool.tenancy import service as tenancy

_NOTHING = Limits(budget_micros=0)


async def account_view(session: AsyncSession, tenant_id: TenantId) -> AccountView:
    """Return a tenant's account; zeros while no limits were set.

    What is spent is rounded up to whole micros, and posted + pending never shows more than their exact sum rounded up.
    """
    row = await repository.account(session, tenant_id)
    if row is None:
        return AccountView(tenant_id=tenant_id, limit_micros=0, posted_micros=0, pending_micros=0)
    posted = to_micros_ceiling(row.posted_picos)
    return AccountView(
        tenant_id=tenant_id,
        limit_micros=row.budget_micros,
        posted_micros=posted,
        pending_micros=to_micros_ceiling(row.posted_picos + row.pending_picos) - posted,
    )


async def limits_of(session: AsyncSession, tenant_id: TenantId) -> Limits:
    """Return the limits in force; no budget while none were set."""
    row = await repository.account(session, tenant_id)
    return _limits(row) if row is not None else _NOTHING


async def set_limits(session: AsyncSession, actor: Actor, tenant_id: TenantId, limits: Limits) -> Limits:
    """Set a tenant's limits; those in force already are no change. Raises `TenantNotFound`."""
    await tenancy.get_tenant(session, tenant_id)
    if limits != await limits_of(session, tenant_id):
        await repository.set_limits(session, tenant_id, limits)
        await audit.append(session, kind="limits.changed", tenant_id=tenant_id, actor=actor, body=limits.model_dump())
    return limits


def _limits(row: Account) -> Limits:
    return Limits(
        budget_micros=row.budget_micros,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        concurrency=row.concurrency,
    )


class LimitDirectory:
    """Every tenant's limits in memory; a snapshot that follows the database."""

    def __init__(self) -> None:
        self._limits: dict[TenantId, Limits] = {}
        self._leases: Leases | None = None

    def watch(self, leases: Leases) -> None:
        """Drain a tenant's lease whenever its budget changes, so that the new one holds for the next request."""
        self._leases = leases

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Read one tenant's limits, or all."""
        loaded = {TenantId(row.tenant_id): _limits(row) for row in await repository.accounts(session, tenant_id)}
        known = self._limits if tenant_id is None else {k: v for k, v in self._limits.items() if k == tenant_id}
        changed = [k for k in known.keys() | loaded.keys() if self._budget(k) != loaded.get(k, _NOTHING).budget_micros]
        self._limits = loaded if tenant_id is None else {**self._limits, **loaded}
        if self._leases is not None:
            for each in changed:
                self._leases.drain(each)

    def of(self, tenant_id: TenantId) -> Limits:
        """Return a tenant's limits; nothing may be spent while none were set."""
        return self._limits.get(tenant_id, _NOTHING)

    def _budget(self, tenant_id: TenantId) -> int:
        return self.of(tenant_id).budget_micros


class Quota:
    """Reservations of one inference replica: rates first, then money; each resolves exactly once."""

    def __init__(self, limits: LimitDirectory, leases: Leases) -> None:
        self._limits = limits
        self._leases = leases
        self._rates: dict[TenantId, TenantRates] = {}
        limits.watch(leases)

    async def reserve(
        self, tenant_id: TenantId, request_id: RequestId, *, amount_picos: int, tokens: int
    ) -> Reservation:
        """Hold what a request may cost at the most.

        Raises `RateLimitExceeded`, `RequestAboveLimit` or `InsufficientQuota`, and then holds and counts nothing. An
        error about a rate tells, as an answer does, what is left of the rates.
        """
        rates = self._rates.setdefault(tenant_id, TenantRates(tenant_id))
        try:
            rates.take(self._limits.of(tenant_id), request_id, tokens, monotonic_seconds())
        except (RateLimitExceeded, RequestAboveLimit) as error:
            error.headers |= rate_headers(self.status(tenant_id))
            raise
        try:
            lease = await self._leases.take(tenant_id, amount_picos)
        except BaseException:
            rates.give_back(request_id, requests=0, tokens=0, now=monotonic_seconds())
            raise
        return Reservation(request_id, tenant_id, lease.lease_id, amount_picos, tokens)

    def settle(self, reservation: Reservation, *, cost_picos: int, tokens: int) -> None:
        """End a request that was served: it cost `cost_picos` and used `tokens`; the rest is free again."""
        self._leases.settle(reservation.lease_id, reservation.amount_picos, cost_picos)
        self._end(reservation, requests=1, tokens=tokens)

    def release(self, reservation: Reservation) -> None:
        """End a request that never reached an engine: nothing was spent, nothing counts."""
        self._leases.settle(reservation.lease_id, reservation.amount_picos, 0)
        self._end(reservation, requests=0, tokens=0)

    def status(self, tenant_id: TenantId) -> dict[str, RateStatus]:
        """Tell what is left of the tenant's limited rates."""
        rates = self._rates.get(tenant_id) or TenantRates(tenant_id)
        return rates.status(self._limits.of(tenant_id), monotonic_seconds())

    def _end(self, reservation: Reservation, *, requests: int, tokens: int) -> None:
        rates = self._rates[reservation.tenant_id]
        rates.give_back(reservation.request_id, requests=requests, tokens=tokens, now=monotonic_seconds())


async def lock_accounts(session: AsyncSession, tenant_ids: Collection[TenantId]) -> None:
    """Lock the accounts that a transaction will post to or close leases of; do so before anything else in it.

    A lease that grows locks its account first and then itself. Whoever took the two the other way round, or several
    accounts in another order, would stop it, and be stopped by it, until Postgres broke one of them off.
    """
    await repository.lock_accounts(session, tenant_ids)


async def post(session: AsyncSession, tenant_id: TenantId, lease_id: LeaseId, amount_picos: int) -> None:
    """Post what a settled request cost out of its lease; an unknown lease is a defect and raises."""
    if not await repository.spend(session, tenant_id, lease_id, amount_picos):
        raise LookupError(f"there is no lease {lease_id} of tenant {tenant_id} to post a settlement to")


async def close_lease(session: AsyncSession, tenant_id: TenantId, lease_id: LeaseId) -> None:
    """Give what a lease still holds back to the account."""
    await repository.close(session, tenant_id, lease_id)
