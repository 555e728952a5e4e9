"""The ledger: every transfer sums to zero, nothing in it changes, and its balances are the counters."""

import asyncio
import random
from collections.abc import Mapping

import asyncpg
import pytest
from quota_replicas import QuotaReplica, QuotaReplicas
from sqlalchemy.exc import DBAPIError

from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.ids import LeaseId, TenantId
from finpool.quota.account import service as account_service
from finpool.quota.errors import InsufficientQuota
from finpool.quota.ledger import service as ledger_service
from finpool.quota.ledger.schemas import TransferKind
from finpool.quota.schemas import LimitKey, Scope, SetBy

BANK = TenantId("bank-a")
MICRO = 10**6


async def execute(pool: QuotaReplicas, role: str, statement: str) -> None:
    async with pool.database(role).for_tenant(BANK) as session:
        await (await session.connection()).exec_driver_sql(statement)


async def post(pool: QuotaReplicas, costs: Mapping[tuple[TenantId, tuple[LeaseId, ...]], int]) -> None:
    async with pool.database("worker").across_tenants() as session:
        await account_service.lock_accounts(session, [BANK])
        await account_service.post(session, costs, "x")


async def spend(replica: QuotaReplica, amount: int, cost: int) -> None:
    replica.settle(await replica.reserve(amount), cost)


async def test_a_transfer_that_does_not_sum_to_zero_is_refused_by_the_code_and_by_the_database(
    pool: QuotaReplicas,
) -> None:
    await pool.add_bank()
    with pytest.raises(ValueError, match="does not sum to zero"):
        async with pool.database("worker").for_tenant(BANK) as session:
            await ledger_service.transfer(session, BANK, TransferKind.USAGE, "x", {"unbilled": 5, "revenue": -4})
    for amounts in ("{5,-4}", "{5}", "{NULL,0}", "{}"):
        values = f"'bank-a', 'transfer_x', 'usage', 'x', '{{unbilled,revenue}}', '{amounts}', now()"
        with pytest.raises(DBAPIError, match="check constraint"):
            await execute(pool, "worker", f"INSERT INTO transfer VALUES ({values})")
    assert await pool.rows("SELECT * FROM transfer") == []


async def test_not_even_the_owner_of_the_schema_changes_or_deletes_a_transfer(
    pool: QuotaReplicas, clean_postgres: EmbeddedPostgres
) -> None:
    await pool.add_bank()
    replica = await pool.add_replica()
    await spend(replica, 10, 7)
    await replica.record()
    before = await pool.rows("SELECT * FROM transfer")
    assert before
    owner = await asyncpg.connect(clean_postgres.urls["owner"])
    try:
        await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
        for statement in ("UPDATE transfer SET amounts_picos = '{0,0}'", "DELETE FROM transfer"):
            with pytest.raises(asyncpg.RaiseError, match="is immutable"):
                await owner.execute(statement)
    finally:
        await owner.close()
    for role in ("inference", "worker", "operator"):
        for statement in ("UPDATE transfer SET reference = 'x'", "DELETE FROM transfer"):
            with pytest.raises(DBAPIError, match="permission denied"):
                await execute(pool, role, statement)
    assert await pool.rows("SELECT * FROM transfer") == before


# One statement sees one moment: a replica may be renewing a lease in the background while a test looks.
BOOKS = """
    SELECT (SELECT json_object_agg(account, balance)
            FROM (SELECT account, sum(amount_picos) AS balance FROM posting GROUP BY account) AS posted) AS balances,
           (SELECT json_agg(budget) FROM budget) AS budgets,
           (SELECT json_agg(lease) FROM lease WHERE closed_at IS NULL) AS leases,
           (SELECT posted_picos FROM account) AS posted_picos
"""


async def books(pool: QuotaReplicas) -> tuple[dict[str, int], dict[str, int]]:
    """Return each account's balance by the ledger and by the counters, both at one moment.

    In picos; zeros are left out.
    """
    (read,) = await pool.rows(BOOKS)
    held = {account: int(balance) for account, balance in (read["balances"] or {}).items() if balance}
    expected = {}
    for each in read["budgets"] or []:
        expected[f"spent:{each['budget_id']}"] = each["posted_picos"]
        expected[f"available:{each['budget_id']}"] = -each["posted_picos"] - each["pending_picos"]
    for each in read["leases"] or []:
        expected[f"lease:{each['lease_id']}"] = max(0, each["granted_picos"] - each["spent_picos"])
    expected |= {"unbilled": read["posted_picos"], "revenue": -read["posted_picos"]}
    return held, {name: int(amount) for name, amount in expected.items() if amount}


async def require_equal_books(pool: QuotaReplicas) -> None:
    held, expected = await books(pool)
    assert held == expected


@pytest.mark.usefixtures("no_waiting")
async def test_after_any_operations_every_balance_is_its_counter(pool: QuotaReplicas, seed: int) -> None:
    chance = random.Random(seed)
    await pool.add_bank(budget_total_micros=300, budget_month_micros=250)
    await pool.set_limits(LimitKey(SetBy.TENANT, Scope.MODEL, "model-x"), budget_day_micros=200)
    replicas = [await pool.add_replica(name, idle_seconds=0.0) for name in ("one", "two")]
    held = []
    for _ in range(25):
        replica = chance.choice(replicas)
        match chance.choice(("reserve", "reserve", "settle", "settle", "release", "record", "return", "adjust")):
            case "reserve":
                amounts = [chance.randint(0, 20 * MICRO) for _ in range(3)]
                for each in await asyncio.gather(*map(replica.reserve, amounts), return_exceptions=True):
                    assert not isinstance(each, BaseException) or isinstance(each, InsufficientQuota)
                    held += [] if isinstance(each, BaseException) else [(replica, each)]
            case "settle" if held:
                by, reservation = held.pop(chance.randrange(len(held)))
                # Now and then one costs more than was reserved: money is posted in full and never cut to fit.
                by.settle(reservation, chance.randint(0, reservation.amount_picos * 5 // 4))
            case "release" if held:
                by, reservation = held.pop(chance.randrange(len(held)))
                by.quota.release(reservation)
            case "return":
                await replica.renewed()
                await replica.allotments.return_unused()
            case "record":
                await replica.record()
                await require_equal_books(pool)
            case "adjust":
                leases = await pool.rows("SELECT lease_id FROM lease WHERE spent_picos > 1000")
                async with pool.database("operator").for_tenant(BANK) as session:
                    await account_service.lock_accounts(session, [BANK])
                    lease_ids = [LeaseId(each["lease_id"]) for each in leases[:3]]
                    await account_service.adjust(session, BANK, lease_ids, chance.randint(0, 1_000), "a correction")
    for by, reservation in held:
        by.quota.release(reservation)
    for replica in replicas:
        await replica.return_everything()
    await require_equal_books(pool)
    assert (await pool.rows("SELECT sum(pending_picos) AS held FROM budget")) == [{"held": 0}]
    assert (await pool.rows("SELECT sum(amount_picos) AS total FROM posting")) == [{"total": 0}]


async def test_posting_out_of_a_lease_that_was_never_granted_posts_nothing_at_all(pool: QuotaReplicas) -> None:
    await pool.add_bank()
    costs: Mapping[tuple[TenantId, tuple[LeaseId, ...]], int] = {(BANK, (LeaseId("lease_nowhere"),)): 5}
    with pytest.raises(LookupError, match="no lease lease_nowhere of bank-a"):
        await post(pool, costs)
    assert ((await books(pool))[0], (await pool.account()).posted_micros) == ({}, 0)


async def test_a_cost_above_what_the_lease_held_is_posted_once_and_no_part_of_it_stays_held(
    pool: QuotaReplicas,
) -> None:
    await pool.add_bank(budget_total_micros=1_000)
    replica = await pool.add_replica(share_of_rest=0.000001)
    await spend(replica, 10 * MICRO, 50 * MICRO)
    await replica.record()
    await require_equal_books(pool)
    await spend(replica, 5 * MICRO, 5 * MICRO)
    await replica.record()
    await require_equal_books(pool)
    await replica.return_everything()
    account = await pool.account()
    assert (account.posted_micros, account.pending_micros) == (55, 0)


async def test_an_account_shows_the_same_amount_as_its_budget_while_usage_is_posted(pool: QuotaReplicas) -> None:
    await pool.add_bank()
    replica = await pool.add_replica()
    await spend(replica, 10 * MICRO, 0)
    await replica.renewed()

    async def spend_again_and_again() -> None:
        for _ in range(60):
            await spend(replica, MICRO, MICRO)
            await replica.record()

    posting = asyncio.create_task(spend_again_and_again())
    seen = set()
    while not posting.done():
        account = await pool.account()
        (budget,) = account.budgets
        assert account.posted_micros == budget.posted_micros
        seen.add(account.posted_micros)
    await posting
    assert len(seen) > 2
