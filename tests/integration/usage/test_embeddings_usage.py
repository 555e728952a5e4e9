"""Usage for embeddings, with the official client: what counts there, what counts as completions, and how it groups."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from usage_doors import Doors

from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.metering.models import UsageAdjustment

DAY_SECONDS = 86_400
VECTORS: dict[str, Any] = {"cached_input_tokens": 0, "output_tokens": 0, "model_id": "model-e"}


@pytest.fixture
def midnight(day: datetime) -> int:
    return int(day.replace(hour=0, tzinfo=UTC).timestamp())


@pytest.fixture
async def mixed(used: Callable[..., Any], record: Callable[..., Any], day: datetime) -> None:
    """Bank A: a chat, a text completion, a request of before operations were recorded, two embeddings, a ranking.

    Bank B: an embedding.
    """
    await record(
        [
            used("bank-a", day, operation="chat", input_tokens=1_000),
            used("bank-a", day, operation="text_completion", input_tokens=200),
            used("bank-a", day, operation=None, input_tokens=100),
            used("bank-a", day, operation="embeddings", input_tokens=10, **VECTORS),
            used("bank-a", day, operation="embeddings", currency="JPY", input_tokens=20, **VECTORS),
            used(
                "bank-a",
                day + timedelta(days=1),
                **{**VECTORS, "operation": "rerank", "model_id": "model-r", "project_id": "treasury"},
                key_id="key_2",
                input_tokens=5,
            ),
            used("bank-b", day, operation="embeddings", input_tokens=9_999, **VECTORS),
        ]
    )


async def test_embeddings_and_rankings_count_as_embeddings_and_all_else_as_completions(
    doors: Doors, mixed: None, midnight: int
) -> None:
    usage = doors.official("bank-a/developer").admin.organization.usage
    embeddings = await usage.embeddings(start_time=midnight, limit=2)
    first, second = (bucket.results for bucket in embeddings.data)
    [result] = first
    assert result.object == "organization.usage.embeddings.result"
    assert (result.input_tokens, result.num_model_requests) == (30, 2)
    assert (result.project_id, result.user_id, result.api_key_id, result.model) == (None, None, None, None)
    assert [(each.input_tokens, each.num_model_requests) for each in second] == [(5, 1)]
    completions = await usage.completions(start_time=midnight, limit=2)
    assert [
        [(each.input_tokens, each.num_model_requests) for each in bucket.results] for bucket in completions.data
    ] == [[(1_300, 3)], []]


async def test_usage_of_embeddings_is_grouped_filtered_and_paged_as_completions_are(
    doors: Doors, mixed: None, midnight: int
) -> None:
    usage = doors.official("bank-a/developer").admin.organization.usage
    grouped = await usage.embeddings(start_time=midnight, group_by=["project_id", "api_key_id", "model"], limit=2)
    assert [
        (result.project_id, result.api_key_id, result.model, result.input_tokens)
        for bucket in grouped.data
        for result in bucket.results
    ] == [("credit", "key_of_bank-a", "model-e", 30), ("treasury", "key_2", "model-r", 5)]
    for filters in ({"project_ids": ["treasury"]}, {"api_key_ids": ["key_2"]}, {"models": ["model-r"]}):
        page = await usage.embeddings(start_time=midnight, limit=2, **filters)
        assert [result.input_tokens for bucket in page.data for result in bucket.results] == [5]
    page = await usage.embeddings(start_time=midnight, end_time=midnight + 2 * DAY_SECONDS, limit=1)
    assert page.has_more
    rest = await usage.embeddings(
        start_time=midnight, end_time=midnight + 2 * DAY_SECONDS, limit=1, page=page.next_page
    )
    assert [result.input_tokens for bucket in (*page.data, *rest.data) for result in bucket.results] == [30, 5]
    assert not rest.has_more


async def test_an_adjustment_of_an_embedding_counts_among_embeddings(
    doors: Doors, used: Callable[..., Any], record: Callable[..., Any], database: Callable[[str], Database]
) -> None:
    at = now()
    embedding = used("bank-a", at, operation="embeddings", input_tokens=10, **VECTORS)
    await record([embedding])
    async with database("operator").across_tenants() as session:
        session.add(
            UsageAdjustment(
                tenant_id="bank-a",
                adjustment_id="adj_1",
                kind="correction",
                request_id=embedding.request_id,
                project_id="credit",
                model_id="model-e",
                price_version=embedding.price_version,
                currency="EUR",
                input_tokens=54,
                cached_input_tokens=0,
                output_tokens=0,
                cost_picos=54,
                reason="the engine counted more",
                made_by="token_test",
                usage_seq=100,
                recorded_at=at,
            )
        )
    usage = doors.official("bank-a/owner").admin.organization.usage
    begin = int(at.timestamp()) - 60
    embeddings, completions = await usage.embeddings(start_time=begin), await usage.completions(start_time=begin)
    assert sum(result.input_tokens for bucket in embeddings.data for result in bucket.results) == 64
    assert [result for bucket in completions.data for result in bucket.results] == []
