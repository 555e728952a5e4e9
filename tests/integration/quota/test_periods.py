"""Budgets of a day, a month and in all, by the database's clock; soft thresholds, once in each period."""

from collections.abc import Callable

import pytest
from quota_replicas import QuotaReplica, QuotaReplicas, StoppedClock
from sqlalchemy import text

from finpool.kernel.ids import TenantId
from finpool.quota.errors import InsufficientQuota
from finpool.quota.schemas import operator_limit

BANK = TenantId("bank-a")
MICRO = 10**6


@pytest.fixture
def database_time(monkeypatch: pytest.MonkeyPatch, no_waiting: None) -> Callable[[str], None]:
    """Set the database's clock as the account sees it: `database_time("2026-01-31 23:59:59")`, in UTC."""

    def be(moment: str) -> None:
        monkeypatch.setattr("finpool.quota.grant.grants.DATABASE_TIME", text(f"SELECT timestamptz '{moment}+00'"))

    return be


async def spend(replica: QuotaReplica, micros: int) -> None:
    replica.settle(await replica.reserve(micros * MICRO), micros * MICRO)


async def posted(pool: QuotaReplicas) -> dict[str, int]:
    """Return what is posted to each budget, in micros, by the end of its name."""
    rows = await pool.rows("SELECT budget_id, posted_picos, pending_picos FROM budget")
    assert {each["pending_picos"] for each in rows} <= {0}
    return {each["budget_id"].removeprefix("operator/tenant/bank-a/"): each["posted_picos"] // MICRO for each in rows}


async def test_a_new_day_opens_a_new_budget_and_the_month_and_the_total_go_on(
    pool: QuotaReplicas, clock: StoppedClock, database_time: Callable[[str], None]
) -> None:
    await pool.add_bank(budget_day_micros=10, budget_month_micros=15, budget_total_micros=18)
    replica = await pool.add_replica()
    database_time("2026-01-30 23:59:59")
    await spend(replica, 10)
    with pytest.raises(InsufficientQuota, match=r"today's budget .* 0 micros left here, 1 needed; it resets in 1s"):
        await spend(replica, 1)
    await clock.advance(1)
    database_time("2026-01-31 00:00:00")
    await spend(replica, 5)
    with pytest.raises(InsufficientQuota, match="this month's budget") as refused:
        await spend(replica, 1)
    assert refused.value.headers["x-ratelimit-reset-budget"] == "24h0m0s"
    await clock.advance(86_400)
    database_time("2026-02-01 00:00:00")
    await spend(replica, 3)
    with pytest.raises(InsufficientQuota, match="the total budget") as refused:
        await spend(replica, 1)
    assert "x-ratelimit-reset-budget" not in refused.value.headers
    await replica.return_everything()
    assert await posted(pool) == {
        "day/2026-01-30": 10,
        "day/2026-01-31": 5,
        "day/2026-02-01": 3,
        "month/2026-01": 15,
        "month/2026-02": 3,
        "total": 18,
    }


async def test_a_request_reserved_yesterday_settles_into_yesterdays_budget(
    pool: QuotaReplicas, clock: StoppedClock, database_time: Callable[[str], None]
) -> None:
    await pool.add_bank(budget_day_micros=10)
    replica = await pool.add_replica()
    database_time("2026-01-31 23:59:59")
    yesterday = await replica.reserve(10 * MICRO)
    await clock.advance(2)
    database_time("2026-02-01 00:00:01")
    await spend(replica, 10)
    replica.settle(yesterday, 8 * MICRO)
    await replica.return_everything()
    assert await posted(pool) == {"day/2026-01-31": 8, "day/2026-02-01": 10}


async def test_a_lease_never_takes_from_today_what_it_would_give_back_to_yesterday(
    pool: QuotaReplicas, clock: StoppedClock, database_time: Callable[[str], None]
) -> None:
    """This replica's clock is behind the database's: it does not know yet that its lease's day is over."""
    await pool.add_bank(budget_day_micros=100)
    replica = await pool.add_replica()
    database_time("2026-01-31 23:59:50")
    await spend(replica, 30)
    await replica.renewed()
    database_time("2026-02-01 00:00:00")
    for _ in range(2):
        await spend(replica, 50)
    with pytest.raises(InsufficientQuota):
        await spend(replica, 1)
    await replica.return_everything()
    assert await posted(pool) == {"day/2026-01-31": 30, "day/2026-02-01": 100}


async def test_a_lease_that_an_operator_closed_does_not_grow_again(pool: QuotaReplicas) -> None:
    await pool.add_bank(budget_total_micros=1_000)
    replica = await pool.add_replica()
    await spend(replica, 100)
    await replica.renewed()
    async with pool.database("operator").for_tenant(BANK) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE budget SET pending_picos = 0")
        await connection.exec_driver_sql("UPDATE lease SET closed_at = now(), outcome = 'released'")
    await spend(replica, 500)
    await replica.return_everything()
    assert await posted(pool) == {"total": 600}


async def thresholds(pool: QuotaReplicas) -> list[tuple[str, int]]:
    """Return each event as (budget, percentage), in the order in which they were put on record."""
    rows = await pool.rows("SELECT body FROM audit_outbox WHERE kind = 'budget.threshold_passed' ORDER BY outbox_id")
    return [
        (each["body"]["budget_id"].removeprefix("operator/tenant/bank-a/"), each["body"]["threshold_percent"])
        for each in rows
    ]


async def test_each_soft_threshold_raises_one_event_in_each_period(
    pool: QuotaReplicas, clock: StoppedClock, database_time: Callable[[str], None]
) -> None:
    await pool.add_bank(budget_day_micros=100, budget_total_micros=1_000, soft_thresholds_percent=[50, 80, 100])
    replica = await pool.add_replica()
    database_time("2026-01-31 12:00:00")
    for micros in (49, 1, 10, 39):  # 49 %, then 50 % exactly, 60 %, and 99 %.
        await spend(replica, micros)
        await replica.record()
    day = "day/2026-01-31"
    assert await thresholds(pool) == [(day, 50), (day, 80)]
    await spend(replica, 1)
    await replica.record()
    await clock.advance(86_400)
    database_time("2026-02-01 12:00:00")
    await spend(replica, 85)
    await replica.record()
    passed = [(day, 50), (day, 80), (day, 100), ("day/2026-02-01", 50), ("day/2026-02-01", 80)]
    assert await thresholds(pool) == passed
    await pool.set_limits(operator_limit(BANK), budget_total_micros=200, soft_thresholds_percent=[90])
    await replica.return_everything()
    await spend(replica, 1)
    await replica.record()
    assert await thresholds(pool) == [*passed, ("total", 90)]
