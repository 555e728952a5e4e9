"""Usage in the three views: the same numbers, exact, and never another tenant's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from usage_doors import Doors

from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.metering.usage import service
from finpool.metering.usage.schemas import UsageDimension

PERIOD = {"from": "2025-03-01", "to": "2025-04-01"}


def micros(amount: int) -> int:
    return amount * 1_000_000


@pytest.fixture
async def month(used: Callable[..., Any], record: Callable[..., Any], day: datetime) -> None:
    """March: three requests of bank A on two days, one of bank B."""
    await record(
        [
            used("bank-a", day, cost_picos=micros(5) + 1),
            used("bank-a", day, cost_picos=1, project_id="treasury", model_id="model-y", price_version="model-y@1"),
            used("bank-a", day + timedelta(days=1), cost_picos=micros(2), estimated=True, outcome="crashed"),
            used("bank-b", day, cost_picos=micros(100), input_tokens=1000, cached_input_tokens=0, output_tokens=500),
        ]
    )


async def test_all_three_views_show_the_same_numbers(
    doors: Doors, month: None, used: Callable[..., Any], record: Callable[..., Any], day: datetime
) -> None:
    vectors = {"input_tokens": 7, "cached_input_tokens": 0, "output_tokens": 0, "cost_picos": micros(1)}
    await record([used("bank-a", day, operation=each, **vectors) for each in ("embeddings", "rerank", "chat")])
    operators = (await doors.operator.get("/v1/usage", params=PERIOD)).json()["data"]
    regulators = (await doors.regulator.get("/v1/usage", params=PERIOD)).json()["data"]
    assert operators == regulators
    assert [(each["tenant_id"], each["requests"], each["cost_micros"]) for each in operators] == [
        ("bank-a", 6, 11),
        ("bank-b", 1, 100),
    ]
    for each in operators:
        official = doors.official(f"{each['tenant_id']}/owner")
        start, end = (
            int(datetime(2025, 3, 1, tzinfo=UTC).timestamp()),
            int(datetime(2025, 4, 1, tzinfo=UTC).timestamp()),
        )
        parts = official.admin.organization.usage
        pages = [await part(start_time=start, end_time=end, limit=31) for part in (parts.completions, parts.embeddings)]
        completions, embeddings = ([result for bucket in page.data for result in bucket.results] for page in pages)
        assert not any(page.has_more for page in pages)
        assert sum(result.num_model_requests for result in completions + embeddings) == each["requests"]
        assert sum(result.input_tokens for result in completions + embeddings) == each["input_tokens"]
        assert sum(result.input_cached_tokens for result in completions) == each["cached_input_tokens"]
        assert sum(result.output_tokens for result in completions) == each["output_tokens"]
        assert sum(result.num_model_requests for result in embeddings) == (2 if each["tenant_id"] == "bank-a" else 0)
    split = PERIOD | {"group_by": "operation", "tenant_id": "bank-a"}
    for door in (doors.operator, doors.regulator):
        groups = (await door.get("/v1/usage", params=split)).json()["data"]
        assert [(each["operation"], each["requests"]) for each in groups] == [
            ("chat", 1),
            ("embeddings", 1),
            ("rerank", 1),
            (None, 3),
        ]


async def test_costs_of_groups_sum_to_the_whole_which_is_rounded_up_once(doors: Doors, month: None) -> None:
    async def groups(group_by: str) -> list[dict[str, Any]]:
        answer = await doors.operator.get("/v1/usage", params=PERIOD | {"group_by": group_by, "tenant_id": "bank-a"})
        data: list[dict[str, Any]] = answer.json()["data"]
        return data

    assert [each["cost_micros"] for each in await groups("")] == [8]
    by_project = await groups("project,model")
    assert [(each["project_id"], each["model_id"], each["cost_micros"]) for each in by_project] == [
        ("credit", "model-x", 8),
        ("treasury", "model-y", 0),
    ]
    exact = [int(each["cost_picos"]) for each in by_project]
    assert exact[1] == 1
    for grouped in ("project,model", "day", "key", "day,project,model"):
        data = await groups(grouped)
        assert sum(each["cost_micros"] for each in data) == 8
        assert sum(int(each["cost_picos"]) for each in data) == sum(exact)


async def test_groups_carry_only_the_ids_they_are_grouped_by(doors: Doors, month: None) -> None:
    answer = await doors.regulator.get("/v1/usage", params=PERIOD | {"group_by": ["day", "tenant,key"]})
    body = answer.json()
    exact = [int(each.pop("cost_picos")) for each in body["data"]]
    for each, picos in zip(body["data"], exact, strict=True):
        assert abs(each["cost_micros"] * 10**6 - picos) < 10**6
    assert body == {
        "object": "list",
        "from": "2025-03-01T00:00:00Z",
        "to": "2025-04-01T00:00:00Z",
        "group_by": ["day", "tenant", "key"],
        "data": [
            group("2025-03-10", "bank-a", requests=2, input_tokens=20, cached=8, output_tokens=6, cost_micros=6),
            group("2025-03-10", "bank-b", requests=1, input_tokens=1000, cached=0, output_tokens=500, cost_micros=100),
            group("2025-03-11", "bank-a", requests=1, input_tokens=10, cached=4, output_tokens=3, cost_micros=2)
            | {"estimated_requests": 1},
        ],
    }


def group(day: str, tenant_id: str, *, cached: int, **numbers: int) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "project_id": None,
        "key_id": f"key_of_{tenant_id}",
        "model_id": None,
        "operation": None,
        "day": day,
        "currency": "EUR",
        "cached_input_tokens": cached,
        "estimated_requests": 0,
        **numbers,
    }


async def test_the_range_holds_its_start_and_not_its_end(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], day: datetime
) -> None:
    moments = [day - timedelta(microseconds=1), day, day + timedelta(seconds=1)]
    await record([used("bank-a", moment, output_tokens=10**index) for index, moment in enumerate(moments)])
    unix = int(day.timestamp())
    for start, end in (
        (day.isoformat(), (day + timedelta(seconds=1)).isoformat()),
        (str(unix), str(unix + 1)),
        ("2025-03-10T13:00:00+01:00", "2025-03-10T12:00:01Z"),
    ):
        answer = await doors.operator.get("/v1/usage", params={"from": start, "to": end})
        assert [each["output_tokens"] for each in answer.json()["data"]] == [10]


async def test_by_default_usage_is_that_of_this_month_until_now(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any]
) -> None:
    now = datetime.now(UTC)
    month_start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await record([used("bank-a", now), used("bank-a", month_start - timedelta(microseconds=1))])
    [only] = (await doors.operator.get("/v1/usage")).json()["data"]
    assert only["requests"] == 1


async def test_money_of_two_currencies_is_never_added(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], day: datetime
) -> None:
    await record([used("bank-a", day, cost_picos=micros(1)), used("bank-a", day, cost_picos=micros(2), currency="JPY")])
    groups = (await doors.operator.get("/v1/usage", params=PERIOD | {"group_by": ""})).json()["data"]
    assert [(each["currency"], each["cost_micros"]) for each in groups] == [("EUR", 1), ("JPY", 2)]


async def test_sums_beyond_64_bits_are_exact(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], day: datetime
) -> None:
    await record([used("bank-a", day, cost_picos=10**24 + 1, output_tokens=2**62) for _ in range(3)])
    [only] = (await doors.operator.get("/v1/usage", params=PERIOD)).json()["data"]
    assert only["cost_micros"] == 3 * 10**18 + 1
    assert only["output_tokens"] == 3 * 2**62


async def test_a_bad_parameter_is_a_400_that_names_it(doors: Doors) -> None:
    for parameter, value in (
        ("from", "yesterday"),
        ("from", "2025-03-10T12:00:00"),
        ("from", "2025-03-10T12:00:00 01:00"),
        ("from", "2027-01-01"),
        ("to", "9" * 30),
        ("to", "0001-01-01T00:00:00+23:00"),
        ("to", ""),
        ("group_by", "colour"),
        ("tenant_id", "Bank A"),
        ("tenant_id", "bank-a\x00"),
        ("limit", "5"),
    ):
        for door in (doors.operator, doors.regulator):
            answer = await door.get("/v1/usage", params=PERIOD | {parameter: value})
            named = str(answer.json()["error"]["param"]).split(".")[0]
            assert (answer.status_code, named, value) == (400, parameter, value)


@pytest.mark.parametrize("group_by", [[], list(UsageDimension)])
async def test_either_wall_alone_keeps_a_tenants_usage_apart(
    database: Callable[[str], Database], month: None, group_by: list[UsageDimension]
) -> None:
    period = {"start": datetime(2025, 3, 1, tzinfo=UTC), "end": datetime(2025, 4, 1, tzinfo=UTC)}
    bank_a = TenantId("bank-a")
    async with database("tenant").for_tenant(bank_a) as session:
        row_level_security_only = await service.usage(session, **period, group_by=group_by, tenant_id=None)
        other = await service.usage(session, **period, group_by=group_by, tenant_id=TenantId("bank-b"))
    async with database("operator").across_tenants() as session:
        application_only = await service.usage(session, **period, group_by=group_by, tenant_id=bank_a)
    assert row_level_security_only == application_only
    assert sum(each.requests for each in application_only) == 3
    assert other == []
