"""Two transactions lock the same account and lease in the same order; otherwise each would wait for the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_intent import INTENT
from sector import Sector
from sqlalchemy import select, text
from waiting import until

from finpool.kernel.database.database import Database
from finpool.kernel.ids import LeaseId, ReplicaId, TenantId
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.schemas import Outcome, Settlement
from finpool.metering.spool.spool import Spool
from finpool.quota.grant import grants
from finpool.quota.grant.rate_share_table import Holder
from finpool.quota.grant.schemas import BudgetNeed
from finpool.quota.models import Account
from finpool.quota.schemas import BudgetKey, Period, operator_limit

BANK, LEASE, REPLICA = TenantId("bank-a"), LeaseId("lease_one"), ReplicaId("one")
BUDGET = BudgetKey(operator_limit(BANK), Period.TOTAL)
COST_MICROS = 15


class Gateway:
    """A replica with a spool, a lease of Bank A and a recorder."""

    def __init__(self, database: Callable[[str], Database], home: Path) -> None:
        self.spool = Spool(home, 10**9)
        self._inference = database("inference")
        self._holder = Holder(REPLICA, self.spool.spool_id, "run_one")
        self.recorder = Recorder(database("worker"), home, REPLICA)

    async def grow_lease(
        self, amount_picos: int, before_the_lease_is_locked: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Lock the account, and then the lease, as the account does when it grants more of a budget."""
        need = BudgetNeed(BUDGET, LEASE, amount_picos, amount_picos)
        async with self._inference.for_tenant(BANK) as session:
            if before_the_lease_is_locked is not None:
                await session.execute(select(Account).filter_by(tenant_id=BANK).with_for_update())
                await before_the_lease_is_locked()
            await grants.ask(session, BANK, self._holder, [need], [], share_of_rest=0.01)

    async def serve_a_request(self) -> None:
        """Settle a request that was paid out of the lease; the recorder has not seen it yet."""
        price: dict[str, Any] = {"input_picos": 1_000_000, "cached_input_picos": 1_000_000, "output_picos": 1_000_000}
        intent = replace(INTENT, tenant_id=BANK, lease_ids=(LEASE,), **price)
        settled_at = "2026-01-01T00:00:01+00:00"
        await self.spool.settle(Settlement(intent, Outcome.COMPLETED, 10, 0, 5, estimated=False, settled_at=settled_at))

    async def close(self) -> None:
        self.recorder.close()
        await self.spool.close()


@pytest.fixture
async def gateway(database: Callable[[str], Database], tmp_path: Path) -> AsyncIterator[Gateway]:
    opened = Gateway(database, tmp_path)
    yield opened
    await opened.close()


async def a_transaction_waits_for_a_lock(database: Database) -> None:
    """Wait until any transaction waits for a lock that another one holds."""
    async with database.across_tenants() as session:
        query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

        async def waits() -> bool:
            return bool((await session.execute(query)).scalar_one())

        await until(waits, "a transaction waits for a lock")


async def test_a_lease_grows_while_what_was_spent_of_it_is_recorded(
    sector: Sector, database: Callable[[str], Database], gateway: Gateway
) -> None:
    """The lease's growth has locked the account, and the recorder comes to post a cost to the same lease."""
    await sector.add_tenant(BANK, 1_000)
    await gateway.grow_lease(100_000_000)
    await gateway.serve_a_request()
    recording: list[asyncio.Task[int]] = []

    async def the_recorder_comes() -> None:
        recording.append(asyncio.create_task(gateway.recorder.run_once()))
        await a_transaction_waits_for_a_lock(database("operator"))

    await gateway.grow_lease(50_000_000, before_the_lease_is_locked=the_recorder_comes)
    assert await recording[0] == 1, "the recorder waited for the growth, and then recorded the request"

    await gateway.spool.return_lease(BANK, LEASE)
    await gateway.recorder.run_once()
    account = await sector.account(BANK)
    assert (account.posted_micros, account.pending_micros) == (COST_MICROS, 0)
