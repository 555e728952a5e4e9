"""Limits and accounts, as operators set and see them."""

from typing import Any

import httpx2
import pytest
from signed_context import sector_rows

from finpool.kernel.settings import Settings
from finpool.quota.schemas import Limits

MODEL = "smollm2-135m-instruct"
LIMITS = "/v1/tenants/bank-a/limits"
Client = httpx2.AsyncClient


async def audited(settings: Settings) -> list[str]:
    """Return what every change of limits says that was handed to the audit log."""
    query = "SELECT body FROM audit_outbox WHERE kind = 'limits.changed' ORDER BY outbox_id"
    rows = await sector_rows(settings.database_url("worker"), query)
    return [row["body"] for row in rows]


async def test_limits_that_are_in_force_already_leave_no_trace(
    admin: Client, create_bank: Any, settings: Settings
) -> None:
    await create_bank()
    limits = Limits(budget_total_micros=5, tokens_per_minute=7).model_dump()
    for wanted in (limits, limits, limits | {"concurrency": 0}, limits | {"concurrency": 0}):
        answer = (await admin.put(f"{LIMITS}/tenant/bank-a", json=wanted)).json()
        assert answer == {"set_by": "operator", "scope": "tenant", "scope_id": "bank-a", "limits": wanted}
    assert (await admin.get(LIMITS)).json()["data"] == [answer]
    assert len(await audited(settings)) == 2


async def test_the_tenant_and_each_part_of_it_has_limits_of_its_own(admin: Client, create_bank: Any) -> None:
    key = await create_bank()
    wanted = {
        ("key", key["id"]): Limits(requests_per_minute=3),
        ("model", MODEL): Limits(tokens_per_minute=4, soft_thresholds_percent=[50]),
        ("project", "retail"): Limits(budget_day_micros=2, concurrency=1),
        ("tenant", "bank-a"): Limits(budget_month_micros=1),
    }
    for (scope, scope_id), limits in wanted.items():
        answer = await admin.put(f"{LIMITS}/{scope}/{scope_id}", json=limits.model_dump())
        assert answer.status_code == 200, answer.text
    listed = (await admin.get(LIMITS)).json()["data"]
    assert {(each["scope"], each["scope_id"]): Limits(**each["limits"]) for each in listed} == wanted
    assert {each["set_by"] for each in listed} == {"operator"}
    # A field that is left out is not limited.
    await admin.put(f"{LIMITS}/project/retail", json={"concurrency": 2})
    listed = (await admin.get(LIMITS)).json()["data"]
    assert Limits(concurrency=2).model_dump() in [each["limits"] for each in listed if each["scope"] == "project"]


@pytest.mark.parametrize(
    ("about", "code"),
    [
        ("tenant/bank-b", "limit_subject_not_found"),
        ("project/nowhere", "limit_subject_not_found"),
        ("key/key_unknown", "limit_subject_not_found"),
        ("model/unheard-of", "limit_subject_not_found"),
    ],
)
async def test_a_limit_on_what_the_tenant_does_not_have_is_refused(
    admin: Client, create_bank: Any, about: str, code: str
) -> None:
    await create_bank("bank-a")
    await create_bank("bank-b")
    await admin.patch("/v1/tenants/bank-a", json={"models": [MODEL]})
    refused = await admin.put(f"{LIMITS}/{about}", json={"concurrency": 1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, code)
    assert (await admin.get(LIMITS)).json()["data"] == []


async def test_limits_of_a_tenant_that_is_not_there_are_a_404(admin: Client) -> None:
    limits = Limits(concurrency=1).model_dump()
    refused = await admin.put("/v1/tenants/bank-z/limits/tenant/bank-z", json=limits)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "tenant_not_found")
    for path in ("limits", "account"):
        assert (await admin.get(f"/v1/tenants/bank-z/{path}")).status_code == 404


@pytest.mark.parametrize(
    ("about", "body"),
    [
        ("use_case/x", {}),
        ("project/a b", {}),
        ("tenant/bank-a", {"budget_micros": 1}),
        ("tenant/bank-a", {"budget_day_micros": -1}),
        ("tenant/bank-a", {"budget_day_micros": 1.5}),
        ("tenant/bank-a", {"concurrency": "2"}),
        ("tenant/bank-a", {"requests_per_minute": 9_000_000_000_000_001}),
        ("tenant/bank-a", {"soft_thresholds_percent": [0]}),
        ("tenant/bank-a", {"soft_thresholds_percent": list(range(1, 12))}),
    ],
)
async def test_what_is_no_limit_is_a_400(admin: Client, create_bank: Any, about: str, body: dict[str, Any]) -> None:
    await create_bank()
    assert (await admin.put(f"{LIMITS}/{about}", json=body)).status_code == 400


async def test_an_account_shows_each_budget_in_its_present_period(admin: Client, create_bank: Any) -> None:
    await create_bank()
    before = (await admin.get("/v1/tenants/bank-a/account")).json()
    assert before == {
        "tenant_id": "bank-a",
        "payment": "postpaid",
        "funded_micros": None,
        "posted_micros": 0,
        "pending_micros": 0,
        "budgets": [],
    }
    limits = Limits(budget_day_micros=1, budget_month_micros=20, budget_total_micros=300)
    await admin.put(f"{LIMITS}/tenant/bank-a", json=limits.model_dump())
    await admin.put(f"{LIMITS}/project/retail", json=Limits(budget_day_micros=0).model_dump())
    budgets = (await admin.get("/v1/tenants/bank-a/account")).json()["budgets"]
    assert sorted((each["scope"], each["period"], each["limit_micros"]) for each in budgets) == [
        ("project", "day", 0),
        ("tenant", "day", 1),
        ("tenant", "month", 20),
        ("tenant", "total", 300),
    ]
    assert {each["posted_micros"] + each["pending_micros"] for each in budgets} == {0}
    resets = {each["period"]: each["resets_at"] for each in budgets}
    assert resets["day"].endswith("T00:00:00Z")
    assert resets["month"].endswith("-01T00:00:00Z")
    assert resets["total"] is None
