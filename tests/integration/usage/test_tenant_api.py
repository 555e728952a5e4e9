"""The tenants' door, with the official client."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from usage_doors import Doors

DAY_SECONDS = 86_400


@pytest.fixture
def midnight(day: datetime) -> int:
    return int(day.timestamp()) // DAY_SECONDS * DAY_SECONDS


@pytest.fixture
async def two_days(used: Callable[..., Any], record: Callable[..., Any], day: datetime) -> None:
    """Bank A on two days in two projects and with two models; bank B on the first."""
    await record(
        [
            used("bank-a", day, cost_picos=1_500_000),
            used("bank-a", day, cost_picos=1, project_id="treasury", key_id="key_2"),
            used(
                "bank-a",
                day + timedelta(days=1),
                model_id="model-y",
                price_version="model-y@7",
                cost_picos=12_345_678_000_000,
            ),
            used("bank-b", day, output_tokens=999, cost_picos=10**15),
        ]
    )


async def test_usage_comes_in_daily_buckets_with_the_empty_days(doors: Doors, two_days: None, midnight: int) -> None:
    usage = doors.official("bank-a/developer").admin.organization.usage
    page = await usage.completions(start_time=midnight - DAY_SECONDS, end_time=midnight + 2 * DAY_SECONDS)
    assert [(bucket.start_time, bucket.end_time) for bucket in page.data] == [
        (midnight + DAY_SECONDS * offset, midnight + DAY_SECONDS * (offset + 1)) for offset in (-1, 0, 1)
    ]
    assert [[result.num_model_requests for result in bucket.results] for bucket in page.data] == [[], [2], [1]]
    [result] = page.data[1].results
    assert result.object == "organization.usage.completions.result"
    assert (result.input_tokens, result.input_cached_tokens, result.output_tokens) == (20, 8, 6)
    assert (result.project_id, result.api_key_id, result.model) == (None, None, None)
    assert (page.has_more, page.next_page) == (False, None)


async def test_usage_is_grouped_and_filtered_with_the_clients_own_lists(
    doors: Doors, two_days: None, midnight: int
) -> None:
    usage = doors.official("bank-a/developer").admin.organization.usage
    grouped = await usage.completions(start_time=midnight, group_by=["project_id", "api_key_id", "model"], limit=2)
    assert [
        (result.project_id, result.api_key_id, result.model) for bucket in grouped.data for result in bucket.results
    ] == [
        ("credit", "key_of_bank-a", "model-x"),
        ("treasury", "key_2", "model-x"),
        ("credit", "key_of_bank-a", "model-y"),
    ]
    for filters in ({"project_ids": ["treasury"]}, {"api_key_ids": ["key_2", "none"]}):
        page = await usage.completions(start_time=midnight, limit=2, **filters)
        assert [result.num_model_requests for bucket in page.data for result in bucket.results] == [1]
    page = await usage.completions(start_time=midnight, limit=2, models=["model-x"])
    assert [result.num_model_requests for bucket in page.data for result in bucket.results] == [2]


async def test_pages_follow_each_other_and_lose_nothing(doors: Doors, two_days: None, midnight: int) -> None:
    usage = doors.official("bank-a/developer").admin.organization.usage
    start, end = midnight + 5_000, midnight + 2 * DAY_SECONDS - 1
    requests, pages = 0, 0
    cursor: dict[str, Any] = {}
    edges = []
    while True:
        page = await usage.completions(start_time=start, end_time=end, bucket_width="1h", limit=7, **cursor)
        pages += 1
        edges += [edge for bucket in page.data for edge in (bucket.start_time, bucket.end_time)]
        requests += sum(result.num_model_requests for bucket in page.data for result in bucket.results)
        if not page.has_more:
            break
        cursor = {"page": page.next_page}
    assert (requests, pages) == (3, 7)
    assert (edges[0], edges[-1]) == (start, end)
    assert edges[1:-1:2] == edges[2:-1:2]


async def test_without_an_end_usage_reaches_to_this_moment(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], day: datetime
) -> None:
    now = datetime.now(day.tzinfo)
    await record([used("bank-a", now)])
    usage = doors.official("bank-a/developer").admin.organization.usage
    page = await usage.completions(start_time=int(now.timestamp()) - 120, bucket_width="1m")
    assert sum(result.num_model_requests for bucket in page.data for result in bucket.results) == 1


async def test_tokens_of_two_currencies_are_one_result_but_their_costs_are_two(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], day: datetime, midnight: int
) -> None:
    await record([used("bank-a", day), used("bank-a", day, currency="JPY")])
    usage = doors.official("bank-a/owner").admin.organization.usage
    [result] = (await usage.completions(start_time=midnight, limit=1)).data[0].results
    assert (result.num_model_requests, result.input_tokens) == (2, 20)
    costs = (await usage.costs(start_time=midnight, limit=1)).data[0].results
    assert [result.amount.currency for result in costs] == ["eur", "jpy"]


async def test_costs_are_by_day_and_line_item(doors: Doors, two_days: None, midnight: int) -> None:
    usage = doors.official("bank-a/finance").admin.organization.usage
    end = midnight + 2 * DAY_SECONDS
    page = await usage.costs(start_time=midnight, end_time=end, group_by=["project_id", "line_item"])
    assert [
        [
            (result.project_id, result.line_item, result.amount.value, result.amount.currency)
            for result in bucket.results
        ]
        for bucket in page.data
    ] == [
        [("credit", "model-x@1", 0.0000015, "eur"), ("treasury", "model-x@1", 0.000000000001, "eur")],
        [("credit", "model-y@7", 12.345678, "eur")],
    ]
    total = await usage.costs(start_time=midnight, end_time=end)
    assert [[result.amount.value for result in bucket.results] for bucket in total.data] == [
        [0.000001500001],
        [12.345678],
    ]
    one = await usage.costs(start_time=midnight, end_time=end, line_items=["model-y@7"])
    assert [len(bucket.results) for bucket in one.data] == [0, 1]


async def test_an_amount_is_written_without_losing_a_digit(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], midnight: int
) -> None:
    written = {1: b"0.000000000001", 10**12: b"1", 123_456_789_012_345_678_901 * 10**6: b"123456789012345.678901"}
    moment = datetime.fromtimestamp(midnight, UTC)
    await record([used("bank-a", moment + timedelta(days=n), cost_picos=cost) for n, cost in enumerate(written)])
    answer = await doors.tenant("bank-a/owner").get("/v1/organization/costs", params={"start_time": midnight})
    for amount in written.values():
        assert b'"amount":{"value":' + amount + b',"currency":"eur"}' in answer.content
    assert orjson.loads(answer.content)["object"] == "page"


async def test_a_tenant_sees_nothing_of_another_whatever_it_asks_for(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], day: datetime, midnight: int
) -> None:
    await record([used("bank-b", day)])
    usage = doors.official("bank-a/owner").admin.organization.usage
    both: list[dict[str, Any]] = [{}, {"project_ids": ["credit"]}, {"api_key_ids": ["key_of_bank-b"]}]
    pages = [await usage.completions(start_time=midnight, **filters) for filters in [*both, {"models": ["model-x"]}]]
    pages += [await usage.costs(start_time=midnight, **filters) for filters in [*both, {"line_items": ["model-x@1"]}]]
    assert all(page.data for page in pages)
    assert [result for page in pages for bucket in page.data for result in bucket.results] == []
    own = await doors.official("bank-b/owner").admin.organization.usage.completions(start_time=midnight)
    assert own.data[0].results[0].num_model_requests == 1


async def test_what_cannot_be_answered_truly_is_a_400_that_names_the_parameter(doors: Doors) -> None:
    for parameter, value in (
        ("start_time", "now"),
        ("start_time", "-1"),
        ("start_time", "9" * 20),
        ("end_time", "1000"),
        ("end_time", "9" * 20),
        ("page", "page_1"),
        ("page", "page_1086401"),
        ("page", "next"),
        ("limit", "0"),
        ("limit", "181"),
        ("bucket_width", "1w"),
        ("group_by", "user_id"),
        ("group_by[]", "service_tier"),
        ("user_ids[]", "user_1"),
        ("batch", "true"),
        ("project_ids", "a\x00"),
        ("api_key_ids[]", "ключ"),
        ("tenant_id", "bank-b"),
    ):
        for path in ("usage/completions", "costs"):
            query = {"start_time": "1000000", "end_time": "2000000", parameter: value}
            answer = await doors.tenant("bank-a/owner").get(f"/v1/organization/{path}", params=query)
            named = str(answer.json()["error"]["param"]).split(".")[0]
            assert (answer.status_code, named, value) == (400, parameter.removesuffix("[]"), value)


async def test_start_time_is_required(doors: Doors) -> None:
    for path in ("usage/completions", "costs"):
        answer = await doors.tenant("bank-a/owner").get(f"/v1/organization/{path}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "start_time")


async def test_a_developer_sees_usage_but_not_costs(doors: Doors) -> None:
    developer = doors.tenant("bank-a/developer")
    assert (await developer.get("/v1/organization/usage/completions?start_time=1")).status_code == 200
    assert (await developer.get("/v1/organization/costs?start_time=1")).status_code == 403


async def test_other_doors_credentials_are_unknown(doors: Doors) -> None:
    for role in ("operator.admin", "regulator.examiner"):
        doors.keys["other"] = doors.keys[role]
        answer = await doors.tenant("other").get("/v1/organization/costs?start_time=1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
