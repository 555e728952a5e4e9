"""Replicas of the inference path's quota on one real Postgres, without doors, engines or spools on disk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from finpool.kernel.database.database import Database
from finpool.kernel.ids import LeaseId, ReplicaId, RequestId, TenantId, new_id
from finpool.quota.account import service as account_service
from finpool.quota.grant.rate_share_table import Holder
from finpool.quota.limit.directory import LimitDirectory
from finpool.quota.limit.service import write_limits
from finpool.quota.reservation.allotments import Allotments
from finpool.quota.reservation.service import Quota, Reservation
from finpool.quota.schemas import AccountView, LimitKey, Limits, Subject, operator_limit
from finpool.tenancy.models import Tenant

BANK = TenantId("bank-a")
SUBJECT = Subject(BANK, "main", "key_1", "model-x")


class StoppedClock:
    """Time that passes only when a test says so, for every replica alike; the database's follows for its shares."""

    def __init__(self, database: Callable[[str], Database]) -> None:
        self._database = database
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    async def advance(self, seconds: float) -> None:
        self.seconds += seconds
        async with self._database("inference").across_tenants() as session:
            # A replica that asks just now holds its account, and then changes its shares in any order.
            await session.execute(text("SELECT 1 FROM account ORDER BY tenant_id FOR UPDATE"))
            older = text("UPDATE rate_share SET expires_at = expires_at - make_interval(secs => :seconds)")
            await session.execute(older, {"seconds": seconds})


class QuotaReplica:
    """One run of one inference replica, and a spool whose records a test records at a moment of its own."""

    def __init__(self, database: Callable[[str], Database], replica_id: str, **options: Any) -> None:
        self._database = database
        self.replica_id = replica_id
        self.run_id = new_id("run")
        self.spool: list[tuple[TenantId, tuple[LeaseId, ...], int | None]] = []
        self.limits = LimitDirectory()
        self.allotments = Allotments(
            database("inference"),
            Holder(ReplicaId(replica_id), f"spool-{replica_id}", self.run_id),
            self._give_back,
            **{"share_of_rest": 0.1, "idle_seconds": 5.0, **options},
        )
        self.quota = Quota(self.limits, self.allotments)

    async def _give_back(self, tenant_id: TenantId, lease_id: LeaseId) -> None:
        self.spool.append((tenant_id, (lease_id,), None))

    async def hear_of_changes(self) -> None:
        """Read the limits, as the change feed does when one of them changes."""
        async with self._database("inference").across_tenants() as session:
            await self.limits.load(session, None)

    async def reserve(self, amount_picos: int = 1, tokens: int = 1, subject: Subject = SUBJECT) -> Reservation:
        request_id = RequestId(new_id("req"))
        return await self.quota.reserve(subject, request_id, amount_picos=amount_picos, tokens=tokens)

    def settle(self, reservation: Reservation, cost_picos: int = 1, tokens: int = 1) -> None:
        self.spool.append((reservation.tenant_id, reservation.lease_ids, cost_picos))
        self.quota.settle(reservation, cost_picos=cost_picos, tokens=tokens)

    async def record(self) -> None:
        """Post what the spool holds, as the recorder does: costs first, then the leases that came back behind them."""
        await self.renewed()
        records, self.spool = self.spool, []
        tenants = {tenant_id for tenant_id, _, _ in records}
        async with self._database("worker").across_tenants() as session:
            await account_service.lock_accounts(session, tenants)
            costs: dict[tuple[TenantId, tuple[LeaseId, ...]], int] = {}
            for tenant_id, lease_ids, cost in records:
                if cost is not None:
                    costs[(tenant_id, lease_ids)] = costs.get((tenant_id, lease_ids), 0) + cost
            if costs:
                await account_service.post(session, costs, f"{self.run_id}/{new_id('batch')}")
            returned = [(tenant_id, lease_ids[0]) for tenant_id, lease_ids, cost in records if cost is None]
            if returned:
                await account_service.close_leases(session, returned)

    async def renewed(self) -> None:
        """Wait for the renewals in the background."""
        await self.allotments.wait_for_answers()

    async def return_everything(self) -> None:
        await self.renewed()
        self.allotments.leases.drain(None)
        await self.allotments.return_unused()
        await self.record()


@dataclass
class QuotaReplicas:
    """Every replica of a test, and the operators' side."""

    database: Callable[[str], Database]
    replicas: list[QuotaReplica] = field(default_factory=list)

    async def add_bank(self, tenant_id: TenantId = BANK, **limits: Any) -> None:
        """Create a tenant; without a budget among its limits it gets one that is never in the way."""
        async with self.database("operator").across_tenants() as session:
            named = {"tenant_id": tenant_id, "name": tenant_id, "status": "active", "models": ["*"], "version": 1}
            session.add(Tenant.model_validate({**named, "created_at": "2026-01-01T00:00:00Z"}))
        if not any(name.startswith("budget") for name in limits):
            limits["budget_total_micros"] = 10**15
        await self.set_limits(operator_limit(tenant_id), tenant_id, **limits)

    async def set_limits(self, key: LimitKey, tenant_id: TenantId = BANK, **limits: Any) -> None:
        """Set the limits of a scope, and let every replica hear of it."""
        async with self.database("operator").across_tenants() as session:
            await write_limits(session, tenant_id, key, Limits(**limits))
        for replica in self.replicas:
            await replica.hear_of_changes()

    async def add_replica(self, replica_id: str = "one", **options: Any) -> QuotaReplica:
        replica = QuotaReplica(self.database, replica_id, **options)
        await replica.allotments.recover()
        await replica.hear_of_changes()
        self.replicas.append(replica)
        return replica

    async def account(self, tenant_id: TenantId = BANK) -> AccountView:
        async with self.database("operator").across_tenants() as session:
            return await account_service.account_view(session, tenant_id)

    async def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Return what the operators' role reads."""
        async with self.database("operator").across_tenants() as session:
            return [dict(row) for row in (await session.execute(text(query), values)).mappings()]
