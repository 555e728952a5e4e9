"""The rate allotments of this replica: look-up, changed limits, writes to the account, and return."""

from collections.abc import Iterable, Sequence

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.quota.grant.rate_share_table import Holder, RateClaim, shorten_expiry, write_claims
from finpool.quota.grant.schemas import RateNeed
from finpool.quota.limits import Demand
from finpool.quota.periods import RATE_SHARE_SECONDS
from finpool.quota.reservation.rates import RateAllotment
from finpool.quota.schemas import RateKey

_RENEWED_BEFORE_SECONDS = RATE_SHARE_SECONDS * 3 / 4
_WRITTEN_AT_ONCE = 500

_Claim = tuple[RateAllotment, RateClaim]


class RateAllotments:
    """Every rate allotment of one replica, by tenant."""

    def __init__(self, database: Database, holder: Holder, *, share_of_rest: float, idle_seconds: float) -> None:
        self._database = database
        self._holder = holder
        self._share_of_rest = share_of_rest
        self._idle_seconds = idle_seconds
        self._allotments: dict[TenantId, dict[RateKey, RateAllotment]] = {}

    def tenants(self) -> list[TenantId]:
        """Return every tenant with a rate allotment."""
        return list(self._allotments)

    def allotment(self, tenant_id: TenantId, key: RateKey, limit: int) -> RateAllotment:
        """Return this replica's allotment of a rate, which may be empty."""
        allotments = self._allotments.setdefault(tenant_id, {})
        allotment = allotments.get(key)
        if allotment is None:
            allotment = allotments[key] = RateAllotment(key, limit)
        return allotment

    def needs(self, demand: Demand, now: float, *, ahead: bool) -> list[tuple[RateAllotment, RateNeed]]:
        """Return the allotments that must grow for a request, or should grow ahead, each with its amounts."""
        found = []
        for key, limit in demand.applicable.rates:
            allotment = self.allotment(demand.tenant_id, key, limit)
            counted = allotment.counted(demand.tokens)
            if not allotment.fits(2 * counted if ahead else counted, now):
                # Four times the use: an allotment then grows and shrinks only where the use really changes.
                used = allotment.used(now)
                wanted = max(4 * (used + counted), min(allotment.small_amount, int(limit * self._share_of_rest)))
                # The account must count used amounts, even above a lowered limit, or other replicas would use them
                # again.
                found.append((allotment, RateNeed(key, allotment.amount, used if ahead else used + counted, wanted)))
        return found

    def relimit(self, tenant_id: TenantId, limits: dict[RateKey, int]) -> None:
        """Apply changed limits at once, and drop the allotments of lifted rates."""
        allotments = self._allotments.get(tenant_id, {})
        for key, allotment in list(allotments.items()):
            if key not in limits:
                del allotments[key]
            elif limits[key] != allotment.limit:
                allotment.relimit(limits[key])

    async def tend(self, tenant_ids: Iterable[TenantId]) -> None:
        """Write changed allotments and renew held ones, all tenants' in one transaction.

        An allotment shrinks in memory first, so the account never counts less than is used.
        """
        now = monotonic_seconds()
        due = [claim for tenant_id in tenant_ids for claim in self._due(tenant_id, now)]
        if not due:
            return
        await self._write(due)
        for allotment, claim in due:
            allotment.written, allotment.valid_until = claim.amount, now + RATE_SHARE_SECONDS

    async def leave(self) -> None:
        """Shrink every allotment to its used amount, which counts for one more window after this replica stops."""
        now = monotonic_seconds()
        last = []
        for tenant_id, allotments in self._allotments.items():
            for allotment in allotments.values():
                allotment.amount = min(allotment.amount, allotment.used(now))
                last.append((allotment, RateClaim(tenant_id, allotment.key, allotment.claimed(now))))
        await self._write(last)
        async with self._database.across_tenants() as session:
            await shorten_expiry(session, self._holder.replica_id)

    def _due(self, tenant_id: TenantId, now: float) -> list[_Claim]:
        """Shrink a tenant's allotments; return those whose new amount or expiry is worth a write."""
        allotments = self._allotments[tenant_id]
        due: list[_Claim] = []
        for key, allotment in list(allotments.items()):
            if now >= allotment.valid_until:
                allotment.amount = allotment.written = 0
            allotment.amount = allotment.amount_worth_keeping(now, self._idle_seconds)
            claimed = allotment.claimed(now)
            expiring = now > allotment.valid_until - _RENEWED_BEFORE_SECONDS
            if allotment.is_worth_writing(claimed) or (claimed and expiring):
                due.append((allotment, RateClaim(tenant_id, key, claimed)))
            elif not claimed:
                del allotments[key]
        return due

    async def _write(self, due: Sequence[_Claim]) -> None:
        for start in range(0, len(due), _WRITTEN_AT_ONCE):
            async with self._database.across_tenants() as session:
                claims = [claim for _, claim in due[start : start + _WRITTEN_AT_ONCE]]
                await write_claims(session, self._holder, claims)
