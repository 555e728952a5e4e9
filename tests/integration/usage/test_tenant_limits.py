"""A bank's own limits and account, on its own door."""

import pytest
from signed_context import sector_rows
from usage_doors import Doors

from finpool.kernel.settings import Settings
from finpool.quota.schemas import Limits

LIMITS = "/v1/organization/limits"


async def test_an_owner_sets_limits_beside_the_operators_and_finance_reads_both(doors: Doors) -> None:
    of_operator = Limits(budget_month_micros=1_000, requests_per_minute=10).model_dump()
    assert (await doors.operator.put("/v1/tenants/bank-a/limits/tenant/bank-a", json=of_operator)).status_code == 200
    own = Limits(requests_per_minute=1_000, concurrency=2).model_dump()
    async with doors.tenant("bank-a/owner") as owner:
        answer = await owner.put(f"{LIMITS}/tenant/bank-a", json=own)
        assert (answer.status_code, answer.json()["set_by"]) == (200, "tenant")
        for about in ("project/credit", "key/" + await key_id(doors), "model/smollm2-135m-instruct"):
            assert (await owner.put(f"{LIMITS}/{about}", json={"budget_day_micros": 5})).status_code == 200
    async with doors.tenant("bank-a/finance") as finance:
        listed = (await finance.get(LIMITS)).json()["data"]
        budgets = (await finance.get("/v1/organization/account")).json()["budgets"]
    of_tenant = {each["set_by"]: each["limits"] for each in listed if each["scope"] == "tenant"}
    assert of_tenant == {"operator": of_operator, "tenant": own}
    assert {(each["set_by"], each["scope"], each["period"], each["limit_micros"]) for each in budgets} == {
        ("operator", "tenant", "month", 1_000),
        ("tenant", "key", "day", 5),
        ("tenant", "model", "day", 5),
        ("tenant", "project", "day", 5),
    }
    assert (await doors.operator.get("/v1/tenants/bank-a/limits")).json()["data"] == listed


async def key_id(doors: Doors) -> str:
    found = (await doors.operator.get("/v1/tenants/bank-a/keys")).json()["data"][0]["id"]
    return str(found)


@pytest.mark.parametrize("role", ["developer", "finance"])
async def test_only_an_owner_sets_limits(doors: Doors, role: str) -> None:
    async with doors.tenant(f"bank-a/{role}") as member:
        refused = await member.put(f"{LIMITS}/tenant/bank-a", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


async def test_an_owner_sets_no_limits_of_another_bank_and_learns_nothing_about_it(doors: Doors) -> None:
    await doors.operator.put("/v1/tenants/bank-b/limits/tenant/bank-b", json={"budget_total_micros": 7})
    of_b = (await doors.operator.get("/v1/tenants/bank-b/keys")).json()["data"][0]["id"]
    async with doors.tenant("bank-a/owner") as owner:
        for about in ("tenant/bank-b", f"key/{of_b}", "project/nowhere"):
            refused = await owner.put(f"{LIMITS}/{about}", json={"concurrency": 0})
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "limit_subject_not_found")
        assert (await owner.get(LIMITS)).json()["data"] == []
        account = (await owner.get("/v1/organization/account")).json()
        assert (account["tenant_id"], account["budgets"]) == ("bank-a", [])


async def test_what_an_owner_set_is_in_the_banks_audit_trail(doors: Doors, settings: Settings) -> None:
    async with doors.tenant("bank-a/owner") as owner:
        for _ in range(2):
            await owner.put(f"{LIMITS}/project/credit", json={"budget_day_micros": 5})
    query = "SELECT tenant_id, body FROM audit_outbox WHERE kind = 'limits.changed'"
    rows = await sector_rows(settings.database_url("worker"), query)
    (row,) = rows
    assert row["tenant_id"] == "bank-a"
    for part in ('"set_by": "tenant"', '"scope_id": "credit"', '"budget_day_micros": 5'):
        assert part in row["body"]
