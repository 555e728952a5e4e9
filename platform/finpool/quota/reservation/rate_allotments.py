"""The rate allotments of this replica: look-up, changed limits, writes to the account, and return."""

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database import Database
from finpool.kernel.ids import TenantId
from finpool.quota.grant.schemas import RateNeed
from finpool.quota.grant.share_table import Holder, delete_share, expire_shares, write_share
from finpool.quota.limits import Demand
from finpool.quota.periods import SHARE_SECONDS
from finpool.quota.reservation.rates import RateAllotment
from finpool.quota.schemas import RateKey

_RENEWED_BEFORE_SECONDS = SHARE_SECONDS * 3 / 4


class RateAllotments:
    """Every rate allotment of one replica, by tenant."""

    def __init__(self, database: Database, holder: Holder, *, share_of_rest: float, idle_seconds: float) -> None:
        self._database = database
        self._holder = holder
        self._share_of_rest = share_of_rest
        self._idle_seconds = idle_seconds
        self._shares: dict[TenantId, dict[RateKey, RateAllotment]] = {}

    def tenants(self) -> list[TenantId]:
        """Return every tenant with a rate allotment."""
        return list(self._shares)

    def share(self, tenant_id: TenantId, key: RateKey, limit: int) -> RateAllotment:
        """Return this replica's allotment of a rate, which may be empty."""
        shares = self._shares.setdefault(tenant_id, {})
        share = shares.get(key)
        if share is None:
            share = shares[key] = RateAllotment(key, limit)
        return share

    def needs(self, demand: Demand, now: float, *, ahead: bool) -> list[tuple[RateAllotment, RateNeed]]:
        """Return the allotments that must grow for a request, or should grow ahead, each with its amounts."""
        found = []
        for key, limit in demand.applicable.rates:
            share = self.share(demand.tenant_id, key, limit)
            counted = share.counted(demand.tokens)
            if not share.fits(2 * counted if ahead else counted, now):
                used = share.used(now)
                wanted = max(2 * (used + counted), int(limit * self._share_of_rest))
                # The account must count used amounts, even above a lowered limit, or other replicas would use them
                # again.
                found.append((share, RateNeed(key, share.amount, used if ahead else used + counted, wanted)))
        return found

    def relimit(self, tenant_id: TenantId, limits: dict[RateKey, int]) -> None:
        """Apply changed limits at once, and drop the allotments of lifted rates."""
        shares = self._shares.get(tenant_id, {})
        for key, share in list(shares.items()):
            if key not in limits:
                del shares[key]
            elif limits[key] != share.limit:
                share.relimit(limits[key])

    async def tend(self, tenant_id: TenantId) -> None:
        """Write changed shares and renew held ones; shrink in memory first, so the account never counts less than is
        used.
        """
        now = monotonic_seconds()
        shares = self._shares[tenant_id]
        due: list[tuple[RateAllotment, int]] = []
        for key, share in list(shares.items()):
            if now >= share.valid_until:
                share.amount = share.written = 0
            share.amount = share.amount_worth_keeping(now, self._idle_seconds)
            claimed = share.claimed(now)
            expiring = now > share.valid_until - _RENEWED_BEFORE_SECONDS
            if claimed != share.written or (claimed and expiring):
                due.append((share, claimed))
            elif not claimed:
                del shares[key]
        if not due:
            return
        async with self._database.for_tenant(tenant_id) as session:
            await self._write(session, tenant_id, due)
        for share, claimed in due:
            share.written, share.valid_until = claimed, now + SHARE_SECONDS

    async def leave(self) -> None:
        """Shrink every share to its used amount, which counts for one more window after this replica stops."""
        now = monotonic_seconds()
        for tenant_id, shares in self._shares.items():
            for share in shares.values():
                share.amount = min(share.amount, share.used(now))
            async with self._database.for_tenant(tenant_id) as session:
                await self._write(session, tenant_id, [(share, share.claimed(now)) for share in shares.values()])
        async with self._database.across_tenants() as session:
            await expire_shares(session, self._holder.replica_id)

    async def _write(self, session: AsyncSession, tenant_id: TenantId, shares: list[tuple[RateAllotment, int]]) -> None:
        for share, claimed in shares:
            if claimed:
                await write_share(session, tenant_id, self._holder, share.key, claimed)
            else:
                await delete_share(session, tenant_id, self._holder, share.key)
