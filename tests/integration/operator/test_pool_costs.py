"""Operators share what the pool cost in a month among the members, by equal parts and by their contracts' weights."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from httpx2 import AsyncClient

from finpool.billing.contract import service as contract_service
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId

CreateBank = Callable[..., Awaitable[dict[str, Any]]]

MONTH = now().strftime("%Y-%m")


async def set_weight(admin: AsyncClient, bank: str, weight: int, **more: Any) -> None:
    terms = {"discount_basis_points": 0, "commitment_micros": 0, "pool_weight": weight, **more}
    assert (await admin.post(f"/v1/tenants/{bank}/contracts", json=terms)).status_code == 201


async def test_the_pools_cost_is_shared_to_the_cent_among_members(
    admin: AsyncClient, create_bank: CreateBank, database: Callable[[str], Database]
) -> None:
    for bank, weight in (("bank-a", 600), ("bank-b", 300), ("bank-c", 0)):
        await create_bank(bank)
        await set_weight(admin, bank, weight)
    missing = await admin.get(f"/v1/pool-costs/{MONTH}")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "pool_cost_not_set")
    cost = {"amount_micros": 10_010_000, "equal_share_basis_points": 4_000}
    answer = (await admin.put(f"/v1/pool-costs/{MONTH}", json=cost)).json()
    fees = {each["tenant_id"]: each["fee_micros"] for each in answer["fees"]}
    assert fees == {"bank-a": 6_010_000, "bank-b": 4_000_000}
    assert (answer["currency"], answer["version"]) == ("CNY", 1)
    async with database("operator").across_tenants() as session:
        for bank, fee in (("bank-a", 6_010_000), ("bank-c", 0)):
            month = now().date()
            assert await contract_service.membership_fee_micros(session, TenantId(bank), month) == fee


async def test_a_members_weight_in_a_month_is_that_of_its_end(admin: AsyncClient, create_bank: CreateBank) -> None:
    await create_bank()
    await create_bank("bank-b")
    later = (now() + timedelta(days=40)).isoformat()
    await set_weight(admin, "bank-a", 1)
    await set_weight(admin, "bank-a", 0, valid_from=later)
    await set_weight(admin, "bank-b", 1, valid_from=later)
    cost = {"amount_micros": 10_000, "equal_share_basis_points": 0}
    this_month, after = MONTH, (now() + timedelta(days=75)).strftime("%Y-%m")
    for month, members in ((this_month, ["bank-a"]), (after, ["bank-b"])):
        answer = (await admin.put(f"/v1/pool-costs/{month}", json=cost)).json()
        assert [each["tenant_id"] for each in answer["fees"]] == members


async def test_a_months_cost_set_again_is_a_new_version_and_the_old_one_stays(
    admin: AsyncClient, clean_postgres: EmbeddedPostgres
) -> None:
    for amount in (10_000, 20_000, 20_000):
        body = {"amount_micros": amount, "equal_share_basis_points": 0}
        answer = (await admin.put("/v1/pool-costs/2026-11", json=body)).json()
    assert (answer["version"], answer["amount_micros"], answer["fees"]) == (2, 20_000, [])
    owner = await asyncpg.connect(clean_postgres.urls["owner"])
    try:
        assert await owner.fetchval("SELECT array_agg(amount_micros ORDER BY version) FROM pool_cost") == [
            10_000,
            20_000,
        ]
    finally:
        await owner.close()


async def test_a_months_cost_is_a_whole_number_of_the_smallest_coin(admin: AsyncClient) -> None:
    body = {"amount_micros": 10_001, "equal_share_basis_points": 0}
    refused = await admin.put("/v1/pool-costs/2026-11", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_a_whole_amount")


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "1999-01", "november"])
async def test_a_month_is_a_year_and_a_month(admin: AsyncClient, month: str) -> None:
    assert (await admin.get(f"/v1/pool-costs/{month}")).status_code == 400
