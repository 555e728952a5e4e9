"""The cost of recorded usage."""

from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.cost.schemas import Amount, CostsQuery, CostsResult
from finpool.kernel.ids import TenantId
from finpool.metering.usage import service as metering
from finpool.metering.usage.schemas import BUCKET_SECONDS, Bucket, BucketPage, UsageColumn, UsageFilter, UsageTotals

_COLUMN_OF_FIELD = {
    "project_id": UsageColumn.PROJECT,
    "api_key_id": UsageColumn.KEY,
    "line_item": UsageColumn.PRICE,
}


async def costs(session: AsyncSession, query: CostsQuery, tenant_id: TenantId) -> BucketPage[CostsResult]:
    """Return one tenant's costs by day (UTC); each result is an exact sum, so groups sum to the whole."""
    page = await metering.totals_in_buckets(
        session,
        query,
        seconds=BUCKET_SECONDS[query.bucket_width],
        buckets_max=query.limit,
        columns=[_COLUMN_OF_FIELD[field] for field in query.group_by],
        only=UsageFilter(
            tenant_id=tenant_id,
            project_ids=query.project_ids,
            key_ids=query.api_key_ids,
            price_versions=query.line_items,
        ),
    )
    data = [
        Bucket[CostsResult](
            start_time=bucket.start_time, end_time=bucket.end_time, results=[_result(each) for each in bucket.results]
        )
        for bucket in page.data
    ]
    return BucketPage(data=data, has_more=page.has_more, next_page=page.next_page)


def _result(totals: UsageTotals) -> CostsResult:
    value = Decimal(totals.cost_picos).scaleb(-12).normalize()
    return CostsResult(
        amount=Amount(value=value, currency=totals.currency.lower()),
        project_id=totals.project_id,
        api_key_id=totals.key_id,
        line_item=totals.price_version,
    )
