"""Whoever locks an account and a lease locks them in the same order, or each would wait for the other."""

import asyncio
from dataclasses import replace

from sample_intent import INTENT
from sqlalchemy import select

from finpool.kernel.ids import LeaseId, ReplicaId, TenantId
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool.schemas import Outcome, Settlement
from finpool.metering.spool.spool import Spool
from finpool.quota.grant import grants
from finpool.quota.grant.grants import BudgetNeed
from finpool.quota.grant.share_table import Holder
from finpool.quota.models import Account
from finpool.quota.schemas import BudgetKey, Period, operator_limit

BANK, LEASE = TenantId("bank-a"), LeaseId("lease_one")
BUDGET = BudgetKey(operator_limit(BANK), Period.TOTAL)


def settlement():
    price = {"input_picos": 1_000_000, "cached_input_picos": 1_000_000, "output_picos": 1_000_000}
    intent = replace(INTENT, tenant_id=BANK, lease_ids=(LEASE,), **price)
    return Settlement(intent, Outcome.COMPLETED, 10, 0, 5, estimated=False, settled_at="2026-01-01T00:00:01+00:00")


async def grow(database, holder, amount_picos, locked=None):
    """Let the lease grow; for a test that waits in between, `locked` is set once the account is locked."""
    need = BudgetNeed(BUDGET, LEASE, amount_picos, amount_picos)
    async with database("inference").for_tenant(BANK) as session:
        if locked is not None:
            await session.execute(select(Account).filter_by(tenant_id=BANK).with_for_update())
            locked.set()
            await asyncio.sleep(0.3)
        await grants.ask(session, BANK, holder, [need], [], share_of_rest=0.01)


async def test_a_lease_grows_while_what_was_spent_of_it_is_recorded(sector, database, tmp_path):
    await sector.add_tenant(BANK, 1_000)
    spool = Spool(tmp_path, 10**9)
    holder = Holder(ReplicaId("one"), spool.spool_id, "run_one")
    await grow(database, holder, 100_000_000)
    await spool.settle(settlement())
    recorder = Recorder(database("worker"), tmp_path, ReplicaId("one"))
    try:
        locked = asyncio.Event()
        growing = asyncio.create_task(grow(database, holder, 50_000_000, locked))
        await locked.wait()
        recording = asyncio.create_task(recorder.run_once())
        await growing
        assert await recording == 1
        await spool.return_lease(BANK, LEASE)
        await recorder.run_once()
    finally:
        recorder.close()
        await spool.close()
    account = await sector.account(BANK)
    assert (account.posted_micros, account.pending_micros) == (15, 0)
