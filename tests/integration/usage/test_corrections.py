"""Usage that was estimated is corrected once the truth is known; usage, account, budgets and ledger move together."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text
from usage_doors import Doors

from finpool.catalogue.model.schemas import Price
from finpool.catalogue.price import service as prices
from finpool.catalogue.price.schemas import TokenPrice
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import to_micros_ceiling
from finpool.quota.account import service as accounts

BANK = TenantId("bank-a")
PRICE = TokenPrice.of(
    "model-x",
    Price(
        currency="EUR",
        input_micros_per_million_tokens=3_000_000,
        cached_input_micros_per_million_tokens=1_000_000,
        output_micros_per_million_tokens=7_000_000,
    ),
)
ESTIMATED_PICOS = 6 * 3_000_000 + 4 * 1_000_000 + 3 * 7_000_000
PATH = "/v1/tenants/bank-a/usage/req_crashed/corrections"
TRUTH = {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 40, "reason": "the engine's own log"}
PERIOD = {"from": "2025-01-01", "group_by": "tenant"}


@pytest.fixture
async def crashed(used: Any, record: Any, database: Callable[[str], Database], day: datetime) -> None:
    """A request that was settled at its last mark and posted, and one that was not estimated."""
    async with database("operator").across_tenants() as session:
        await prices.register(session, [PRICE])
    known = {"price_version": PRICE.price_version, "cost_picos": ESTIMATED_PICOS}
    await record(
        [
            used(BANK, day, request_id="req_crashed", outcome="crashed", estimated=True, usage_seq=1, **known),
            used(BANK, day, request_id="req_whole", usage_seq=2, **known),
            used(BANK, day, request_id="req_other_price", outcome="crashed", estimated=True, usage_seq=3, cost_picos=1),
        ]
    )
    async with database("worker").across_tenants() as session:
        await accounts.lock_accounts(session, {BANK})
        await accounts.number_usage(session, {BANK: 3})
        await accounts.post(session, {(BANK, (LeaseId("lease_1"),)): 2 * ESTIMATED_PICOS + 1}, "test")


async def books(database: Callable[[str], Database]) -> dict[str, int]:
    """Return what usage, the account, the budget and the ledger say was spent, in picos."""
    queries = {
        "usage": "SELECT (SELECT sum(cost_picos) FROM usage_record)"
        " + (SELECT coalesce(sum(cost_picos), 0) FROM usage_adjustment)",
        "account": "SELECT posted_picos FROM account WHERE tenant_id = 'bank-a'",
        "budget": "SELECT posted_picos FROM budget WHERE tenant_id = 'bank-a'",
        "unbilled": "SELECT sum(amount_picos) FROM posting WHERE account = 'unbilled'",
        "spent": "SELECT sum(amount_picos) FROM posting WHERE account = 'spent:total'",
    }
    async with database("operator").across_tenants() as session:
        return {name: int((await session.execute(text(query))).scalar_one()) for name, query in queries.items()}


async def adjustments(database: Callable[[str], Database]) -> list[Any]:
    async with database("operator").across_tenants() as session:
        rows = await session.execute(text("SELECT * FROM usage_adjustment ORDER BY usage_seq"))
        return list(rows.mappings())


@pytest.mark.usefixtures("crashed")
async def test_a_correction_moves_usage_account_budget_and_ledger_by_the_same_amount(
    doors: Doors, database: Callable[[str], Database]
) -> None:
    before = await books(database)
    answer = await doors.operator.post(PATH, json=TRUTH)
    assert answer.status_code == 200
    expected = ESTIMATED_PICOS + 37 * 7_000_000
    assert answer.json() | {"adjustment_id": None} == {
        "id": "req_crashed",
        "object": "estimated_usage",
        "tenant_id": "bank-a",
        "project_id": "credit",
        "model_id": "model-x",
        "input_tokens": 10,
        "cached_input_tokens": 4,
        "output_tokens": 40,
        "cost_micros": to_micros_ceiling(expected),
        "currency": "EUR",
        "settled_at": "2025-03-10T12:00:00Z",
        "corrected": True,
        "adjustment_id": None,
    }
    after = await books(database)
    assert {name: after[name] - before[name] for name in after} == dict.fromkeys(after, 37 * 7_000_000)
    assert len(set(after.values())) == 1
    (row,) = await adjustments(database)
    assert (row["usage_seq"], row["output_tokens"], row["input_tokens"]) == (4, 37, 0)


@pytest.mark.usefixtures("crashed")
async def test_a_second_correction_is_relative_to_the_first_and_may_give_back(
    doors: Doors, database: Callable[[str], Database]
) -> None:
    await doors.operator.post(PATH, json=TRUTH)
    again = await doors.operator.post(PATH, json=TRUTH)
    assert again.json()["adjustment_id"] is None
    nothing = {"input_tokens": 0, "output_tokens": 0, "reason": "it never reached the engine"}
    answer = await doors.operator.post(PATH, json=nothing)
    assert answer.json()["cost_micros"] == 0
    assert [int(row["cost_picos"]) for row in await adjustments(database)] == [
        37 * 7_000_000,
        -ESTIMATED_PICOS - 37 * 7_000_000,
    ]
    assert set((await books(database)).values()) == {ESTIMATED_PICOS + 1}


@pytest.mark.usefixtures("crashed")
async def test_everybody_sees_usage_with_its_corrections(doors: Doors) -> None:
    await doors.operator.post(PATH, json=TRUTH)
    (operators,) = (await doors.operator.get("/v1/usage", params=PERIOD)).json()["data"]
    (regulators,) = (await doors.regulator.get("/v1/usage", params=PERIOD)).json()["data"]
    assert operators == regulators
    assert (operators["requests"], operators["estimated_requests"], operators["output_tokens"]) == (3, 2, 46)
    institutions = (await doors.regulator.get("/v1/institutions")).json()["data"]
    recent = next(each["last_30_days"] for each in institutions if each["id"] == "bank-a")
    assert (recent["requests"], recent["output_tokens"]) == (0, 37)
    start = int(now().timestamp()) - 3600
    query: dict[str, Any] = {"start_time": start, "group_by": ["project_id", "api_key_id"]}
    page = (await doors.tenant("bank-a/owner").get("/v1/organization/usage/completions", params=query)).json()
    (found,) = [result for bucket in page["data"] for result in bucket["results"]]
    assert (found["num_model_requests"], found["output_tokens"], found["input_tokens"]) == (0, 37, 0)
    assert (found["project_id"], found["api_key_id"]) == ("credit", "key_of_bank-a")
    other = (await doors.tenant("bank-b/owner").get("/v1/organization/usage/completions", params=query)).json()
    assert [result for bucket in other["data"] for result in bucket["results"]] == []


@pytest.mark.usefixtures("crashed")
async def test_only_what_was_estimated_at_a_known_price_is_corrected(
    doors: Doors, database: Callable[[str], Database]
) -> None:
    for request_id, status, code in (
        ("req_whole", 400, "correction_refused"),
        ("req_other_price", 400, "correction_refused"),
        ("req_unknown", 404, "usage_not_found"),
    ):
        answer = await doors.operator.post(f"/v1/tenants/bank-a/usage/{request_id}/corrections", json=TRUTH)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    for wrong in ({"input_tokens": -1}, {"cached_input_tokens": 11}, {"reason": " "}, {"output_tokens": 10**10}):
        assert (await doors.operator.post(PATH, json=TRUTH | wrong)).status_code == 400
    answer = await doors.operator.post(PATH.replace("bank-a", "bank-b"), json=TRUTH)
    assert answer.status_code == 404
    assert await adjustments(database) == []


@pytest.mark.usefixtures("crashed")
async def test_operators_find_what_was_estimated(doors: Doors) -> None:
    await doors.operator.post(PATH, json=TRUTH)
    listed = (await doors.operator.get("/v1/tenants/bank-a/estimated-usage", params={"limit": 1})).json()
    assert (listed["has_more"], [each["id"] for each in listed["data"]]) == (True, ["req_crashed"])
    assert (listed["data"][0]["output_tokens"], listed["data"][0]["corrected"]) == (40, True)
    rest = await doors.operator.get("/v1/tenants/bank-a/estimated-usage", params={"after": listed["last_id"]})
    assert [(each["id"], each["corrected"]) for each in rest.json()["data"]] == [("req_other_price", False)]
    assert (await doors.operator.get("/v1/tenants/nobody/estimated-usage")).status_code == 404
