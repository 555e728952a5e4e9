"""A page of usage has a bounded number of results, and the pages together have all of them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import openai
import pytest
from usage_doors import Doors

RESULTS_MAX = "finpool.metering.usage.service.RESULTS_MAX"
GROUPS_MAX = "finpool.metering.usage.service.GROUPS_MAX"


@pytest.fixture
async def four_days(used: Callable[..., Any], record: Callable[..., Any], day: datetime) -> None:
    """Bank A: two keys on the first day, none on the second, three on the third, one on the fourth."""
    keys = {0: ("key_1", "key_2"), 2: ("key_1", "key_2", "key_3"), 3: ("key_1",)}
    await record(
        [used("bank-a", day + timedelta(days=offset), key_id=key) for offset, many in keys.items() for key in many]
    )


async def pages(doors: Doors, day: datetime, resource: str) -> list[list[list[str]]]:
    """Return the keys of each bucket of each page."""
    usage = doors.official("bank-a/owner").admin.organization.usage
    asked: dict[str, Any] = {"start_time": int(day.timestamp()) // 86_400 * 86_400, "group_by": ["api_key_id"]}
    asked["end_time"] = asked["start_time"] + 4 * 86_400
    page = await getattr(usage, resource)(**asked, limit=4)
    found = [page]
    while page.has_more:
        page = await getattr(usage, resource)(**asked, limit=4, page=page.next_page)
        found.append(page)
    return [[[result.api_key_id for result in bucket.results] for bucket in each.data] for each in found]


@pytest.mark.parametrize("resource", ["completions", "costs"])
async def test_a_page_ends_at_a_bucket_before_it_has_too_many_results(
    doors: Doors, four_days: None, day: datetime, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, third, fourth = ["key_1", "key_2"], ["key_1", "key_2", "key_3"], ["key_1"]
    assert await pages(doors, day, resource) == [[first, [], third, fourth]]
    monkeypatch.setattr(RESULTS_MAX, 3)
    assert await pages(doors, day, resource) == [[first, []], [third], [fourth]]
    monkeypatch.setattr(RESULTS_MAX, 2)
    assert await pages(doors, day, resource) == [[first, []], [third], [fourth]], "a large bucket is alone on its page"


async def test_more_groups_than_an_answer_takes_are_refused_with_a_way_out(
    doors: Doors, four_days: None, day: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RESULTS_MAX, 1)
    monkeypatch.setattr(GROUPS_MAX, 1)
    with pytest.raises(openai.BadRequestError, match="fewer fields to group by"):
        await pages(doors, day, "completions")
    range_of_day = {"from": day.isoformat(), "to": (day + timedelta(days=4)).isoformat(), "group_by": "key"}
    for door in (doors.operator, doors.regulator):
        answer = await door.get("/v1/usage", params=range_of_day)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "group_by")
