"""What accounts held before limits had scopes is carried over: nothing is lost, nothing counted twice."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from database_settings import settings_for
from sqlalchemy import Connection

from finpool.apps import migrate
from finpool.installation.postgres import start_postgres, stop_postgres
from finpool.kernel.database.database import Database
from finpool.kernel.database.database_url import DatabaseUrl
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.settings import Settings
from finpool.quota.account import service as account_service

BEFORE = """
INSERT INTO tenant VALUES ('$', '$', 'active', '{*}', 1, now());
INSERT INTO account VALUES ('$', 1000, 60, NULL, 4, 700, 250, now());
INSERT INTO lease VALUES ('$', 'lease_open', 'one', 'spool', 900, 650, now());
INSERT INTO lease VALUES ('$', 'lease_closed', 'one', 'spool', 50, 50, now(), now());
INSERT INTO usage_record
    SELECT '$', 'req_' || number, 'main', 'key_1', 'm', 'w', 'v', 'CNY', 10, 0, 5, 175, 'completed', false, false, 1,
           'lease_open', 'one', number, now(), timestamptz '2026-01-01' - number * interval '1 hour'
    FROM generate_series(1, 4) AS number
"""
"""One bank as it was: 700 picos spent, 250 held by the open lease, four requests on record, the latest first."""


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Settings of a database of its own, with the login roles and nothing else."""
    home = Path(tempfile.mkdtemp(prefix="finpool-test-"))
    try:
        urls = start_postgres(home).urls
        yield settings_for(urls)
    finally:
        stop_postgres(home)
        shutil.rmtree(home)


async def upgrade_to(settings: Settings, revision: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrate.migrations_dir()))
        config.attributes["connection"] = connection
        config.attributes["lock_seconds_max"] = 60
        command.upgrade(config, revision)

    owner = Database(settings.database_url("owner"), connections_max=1)
    roles = {role: DatabaseUrl.parse(settings.database_url(role)) for role in migrate.LOGIN_ROLES}
    await migrate._ensure_roles(owner, roles)
    async with owner.engine.connect() as connection:
        await connection.run_sync(upgrade)
        await connection.commit()
    await owner.close()


async def rows(settings: Settings, tenant_id: str, query: str) -> list[dict[str, Any]]:
    """Return what the operators' role sees of one tenant."""
    connection = await asyncpg.connect(settings.database_url("operator"))
    try:
        await connection.execute("SELECT set_config('finpool.tenant_id', $1, false)", tenant_id)
        return [dict(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def migrated(settings: Settings) -> Settings:
    """Three banks on the first schema, brought up to date."""

    async def fill() -> None:
        await upgrade_to(settings, "0001")
        owner = await asyncpg.connect(settings.database_url("owner"))
        try:
            for tenant_id in ("bank-a", "bank-b", "bank-c"):
                await owner.execute("SELECT set_config('finpool.tenant_id', $1, false)", tenant_id)
                await owner.execute(BEFORE.replace("$", tenant_id))
        finally:
            await owner.close()

    asyncio.run(fill())
    migrate.migrate(settings)
    return settings


@pytest.mark.parametrize("bank", ["bank-a", "bank-b"])
async def test_an_accounts_limits_become_the_operators_limits_on_the_tenant(migrated: Settings, bank: str) -> None:
    (limit,) = await rows(migrated, bank, "SELECT * FROM quota_limit")
    del limit["updated_at"]
    assert limit == {
        "tenant_id": bank,
        "set_by": "operator",
        "scope": "tenant",
        "scope_id": bank,
        "budget_day_micros": None,
        "budget_month_micros": None,
        "budget_total_micros": 1000,
        "soft_thresholds_percent": [],
        "requests_per_minute": 60,
        "tokens_per_minute": None,
        "concurrency": 4,
    }


@pytest.mark.parametrize("bank", ["bank-a", "bank-b"])
async def test_what_was_spent_and_held_is_the_total_budgets(migrated: Settings, bank: str) -> None:
    budget_id = f"operator/tenant/{bank}/total"
    (budget,) = await rows(migrated, bank, "SELECT budget_id, period, posted_picos, pending_picos FROM budget")
    assert budget == {"budget_id": budget_id, "period": "total", "posted_picos": 700, "pending_picos": 250}
    (account,) = await rows(migrated, bank, "SELECT payment, funded_picos, posted_picos, usage_seq FROM account")
    assert account == {"payment": "postpaid", "funded_picos": 0, "posted_picos": 700, "usage_seq": 4}
    leases = await rows(migrated, bank, "SELECT lease_id, budget_id, outcome FROM lease ORDER BY lease_id")
    assert leases == [
        {"lease_id": "lease_closed", "budget_id": budget_id, "outcome": "returned"},
        {"lease_id": "lease_open", "budget_id": budget_id, "outcome": None},
    ]


@pytest.mark.parametrize("bank", ["bank-a", "bank-b"])
async def test_usage_is_numbered_in_the_order_in_which_it_was_settled(migrated: Settings, bank: str) -> None:
    found = await rows(migrated, bank, "SELECT * FROM usage_record ORDER BY settled_at")
    assert [(each["request_id"], each["usage_seq"]) for each in found] == [
        ("req_4", 1),
        ("req_3", 2),
        ("req_2", 3),
        ("req_1", 4),
    ]
    assert {tuple(each["lease_ids"]) for each in found} == {("lease_open",)}
    assert {each["tier"] for each in found} == {"standard"}
    assert all(each["recorded_at"] == each["settled_at"] for each in found)


@pytest.mark.parametrize("bank", ["bank-a", "bank-b"])
async def test_the_ledger_opens_with_what_the_counters_say(migrated: Settings, bank: str) -> None:
    found = await rows(migrated, bank, "SELECT account, sum(amount_picos)::int AS held FROM posting GROUP BY account")
    assert {each["account"]: each["held"] for each in found} == {
        "unbilled": 700,
        "revenue": -700,
        f"available:operator/tenant/{bank}/total": -950,
        f"spent:operator/tenant/{bank}/total": 700,
        "lease:lease_open": 250,
    }


async def test_an_account_that_was_migrated_goes_on_being_posted_to(migrated: Settings) -> None:
    """A lease from before is closed by the worker as any other, and its budget has the rest again."""
    bank, lease = TenantId("bank-c"), LeaseId("lease_open")
    database = Database(migrated.database_url("worker"), connections_max=1)
    try:
        async with database.across_tenants() as session:
            await account_service.lock_accounts(session, [bank])
            await account_service.post(session, {(bank, (lease,)): 100}, "x")
            await account_service.close_leases(session, [(bank, lease)])
    finally:
        await database.close()
    (budget,) = await rows(migrated, bank, "SELECT posted_picos, pending_picos FROM budget")
    assert budget == {"posted_picos": 800, "pending_picos": 0}


async def test_a_session_of_the_release_before_which_signs_nothing_is_believed_for_an_hour(migrated: Settings) -> None:
    assert len(await rows(migrated, "bank-a", "SELECT FROM account")) == 1
    owner = await asyncpg.connect(migrated.database_url("owner"))
    later = "UPDATE context_key SET valid_until = valid_until - interval '1 hour' WHERE key_id = 'unsigned'"
    try:
        async with owner.transaction():
            await owner.execute(later)
            assert await owner.fetchval("SELECT max(valid_until) < clock_timestamp() FROM context_key")
        assert await rows(migrated, "bank-a", "SELECT FROM account") == []
    finally:
        await owner.execute(later.replace(" - ", " + "))
        await owner.close()
