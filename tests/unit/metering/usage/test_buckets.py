"""Time buckets: pages of them cover the range asked for, once and without a gap."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from finpool.kernel.errors import InvalidRequest
from finpool.metering.usage.buckets import fill, page_of_buckets, span
from finpool.metering.usage.schemas import BucketQuery, ModelUsageQuery, UsageTotals

AT = datetime(2026, 3, 10, 12, 0, 30, tzinfo=UTC)
SECONDS = st.sampled_from([60, 3_600, 86_400])
TOTALS: dict[str, Any] = {
    "currency": "EUR",
    "requests": 1,
    "input_tokens": 1,
    "cached_input_tokens": 0,
    "output_tokens": 1,
    "cost_picos": 1,
    "estimated_requests": 0,
}


@given(
    start=st.integers(0, 2_000_000_000),
    buckets=st.integers(0, 200),
    rest=st.integers(1, 86_400),
    seconds=SECONDS,
    buckets_max=st.integers(1, 31),
)
def test_pages_cover_the_range_once_in_aligned_buckets(
    start: int, buckets: int, rest: int, seconds: int, buckets_max: int
) -> None:
    end = start + buckets * seconds + rest % seconds + 1
    query, edges = BucketQuery(start_time=start, end_time=end), [start]
    while True:
        page = page_of_buckets(query, seconds=seconds, buckets_max=buckets_max, at=AT)
        assert 1 <= len(page.data) <= buckets_max
        for bucket in page.data:
            assert bucket.start_time == edges[-1]
            assert 0 < bucket.end_time - bucket.start_time <= seconds
            edges.append(bucket.end_time)
        if page.next_page is None:
            break
        query = BucketQuery(start_time=start, end_time=end, page=page.next_page)
    assert edges[-1] == end
    assert all(edge % seconds == 0 for edge in edges[1:-1])


def test_totals_land_in_the_bucket_of_their_time_even_when_it_is_cut() -> None:
    noon = 43_200
    query = BucketQuery(start_time=noon, end_time=86_400 + noon)
    page = page_of_buckets(query, seconds=86_400, buckets_max=7, at=AT)
    fill(page, [UsageTotals(**TOTALS, bucket=0), UsageTotals(**TOTALS, bucket=86_400)], seconds=86_400)
    assert [len(bucket.results) for bucket in page.data] == [1, 1]
    assert span(page) == (datetime.fromtimestamp(noon, UTC), datetime.fromtimestamp(86_400 + noon, UTC))


def test_without_an_end_the_last_bucket_holds_the_present() -> None:
    at = int(AT.timestamp())
    page = page_of_buckets(BucketQuery(start_time=at - 60), seconds=60, buckets_max=60, at=AT)
    assert page.data[-1].start_time <= at < page.data[-1].end_time
    assert not page.has_more


def test_a_start_in_the_future_has_no_buckets() -> None:
    page = page_of_buckets(BucketQuery(start_time=int(AT.timestamp()) + 10**7), seconds=60, buckets_max=60, at=AT)
    assert (page.data, page.has_more, span(page)) == ([], False, None)


@pytest.mark.parametrize("page", ["page_0", "page_61", "page_600", "page_660"])
def test_a_page_of_another_query_is_refused(page: str) -> None:
    query = BucketQuery(start_time=60, end_time=600, page=page)
    with pytest.raises(InvalidRequest) as refused:
        page_of_buckets(query, seconds=60, buckets_max=60, at=AT)
    assert refused.value.param == "page"


@pytest.mark.parametrize(("width", "limit_max"), [("1m", 1_440), ("1h", 168), ("1d", 31)])
def test_a_page_holds_at_most_what_its_width_allows(width: str, limit_max: int) -> None:
    fits = ModelUsageQuery.model_validate({"start_time": "1", "bucket_width": width, "limit": str(limit_max)})
    assert fits.buckets_max == limit_max
    with pytest.raises(ValidationError, match=f"at most {limit_max}"):
        ModelUsageQuery.model_validate({"start_time": "1", "bucket_width": width, "limit": str(limit_max + 1)})
