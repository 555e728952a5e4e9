"""Time buckets: they divide the time range of one page."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from finpool.kernel.errors import InvalidRequest
from finpool.metering.usage.schemas import Bucket, BucketPage, BucketQuery, Result, UsageTotals


def page_of_buckets(query: BucketQuery, *, seconds: int, buckets_max: int, at: datetime) -> BucketPage[UsageTotals]:
    """Return the page's buckets, still empty. `at` is the current time.

    Buckets begin at whole minutes, hours or days of UTC. The first and the last are cut to the queried range, so each
    shown time range matches its usage. Without an end the bucket that contains `at` is the last. Raises
    `InvalidRequest`.
    """
    end = query.end_time if query.end_time is not None else (int(at.timestamp()) // seconds + 1) * seconds
    begin = query.start_time if query.page is None else int(query.page.removeprefix("page_"))
    if query.page is not None and not (query.start_time < begin < end and begin % seconds == 0):
        raise InvalidRequest("page does not continue this query; use next_page of the page before.", param="page")
    data: list[Bucket[UsageTotals]] = []
    while begin < end and len(data) < buckets_max:
        until = min((begin // seconds + 1) * seconds, end)
        data.append(Bucket(start_time=begin, end_time=until, results=[]))
        begin = until
    has_more = begin < end
    return BucketPage(data=data, has_more=has_more, next_page=f"page_{begin}" if has_more else None)


def ended_early(page: BucketPage[UsageTotals], bucket: int, *, seconds: int) -> BucketPage[UsageTotals]:
    """Return a page that ends before the bucket that begins at `bucket`, or after it if it is the page's first."""
    kept = max(1, sum(each.start_time // seconds * seconds < bucket for each in page.data))
    if kept == len(page.data):
        return page
    return BucketPage(data=page.data[:kept], has_more=True, next_page=f"page_{page.data[kept].start_time}")


def span(page: BucketPage[UsageTotals]) -> tuple[datetime, datetime] | None:
    """Return the time range of a page's buckets, or None without buckets."""
    if not page.data:
        return None
    return (
        datetime.fromtimestamp(page.data[0].start_time, UTC),
        datetime.fromtimestamp(page.data[-1].end_time, UTC),
    )


def fill(page: BucketPage[UsageTotals], totals: Iterable[UsageTotals], *, seconds: int) -> None:
    """Put each of the totals into its bucket, in order."""
    by_begin = {bucket.start_time // seconds * seconds: bucket for bucket in page.data}
    for each in totals:
        if each.bucket is not None:
            by_begin[each.bucket].results.append(each)


def with_results(page: BucketPage[UsageTotals], shape: Callable[[UsageTotals], Result]) -> BucketPage[Result]:
    """Return the page with each total in another shape."""
    data: list[Bucket[Result]] = [
        Bucket(start_time=each.start_time, end_time=each.end_time, results=[shape(totals) for totals in each.results])
        for each in page.data
    ]
    return BucketPage(data=data, has_more=page.has_more, next_page=page.next_page)
