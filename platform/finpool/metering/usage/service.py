"""Reads of recorded usage; only the recorder and adjustments write it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.clock import now
from finpool.kernel.errors import InvalidRequest
from finpool.kernel.ids import TenantId
from finpool.kernel.money import micros_of_groups
from finpool.metering.usage import repository
from finpool.metering.usage.buckets import ended_early, fill, page_of_buckets, span, with_results
from finpool.metering.usage.schemas import (
    BUCKET_SECONDS,
    BucketPage,
    BucketQuery,
    CompletionsResult,
    EmbeddingsResult,
    ModelUsageQuery,
    UsageColumn,
    UsageDimension,
    UsageFilter,
    UsageGroup,
    UsageKind,
    UsageTotals,
)

RESULTS_MAX = 500
"""Results on a page of buckets: they take some milliseconds of computing."""

GROUPS_MAX = 10_000
"""Groups in one answer without pages, or in one bucket."""

_DAY_SECONDS = BUCKET_SECONDS["1d"]
_COLUMN_OF_DIMENSION = {
    UsageDimension.TENANT: UsageColumn.TENANT,
    UsageDimension.PROJECT: UsageColumn.PROJECT,
    UsageDimension.KEY: UsageColumn.KEY,
    UsageDimension.MODEL: UsageColumn.MODEL,
    UsageDimension.OPERATION: UsageColumn.OPERATION,
}
_COLUMN_OF_FIELD = {
    "project_id": UsageColumn.PROJECT,
    "api_key_id": UsageColumn.KEY,
    "model": UsageColumn.MODEL,
}


async def usage(
    session: AsyncSession,
    *,
    start: datetime,
    end: datetime,
    group_by: Sequence[UsageDimension],
    tenant_id: TenantId | None,
) -> list[UsageGroup]:
    """Return usage admitted in [start, end) of one tenant, or of all for None; at least one group per currency.

    Raises `InvalidRequest` for more than `GROUPS_MAX` groups.
    """
    found = await repository.totals(
        session,
        start=start,
        end=end,
        columns=[_COLUMN_OF_DIMENSION[each] for each in group_by if each is not UsageDimension.DAY],
        only=UsageFilter(tenant_id=tenant_id),
        bucket_seconds=_DAY_SECONDS if UsageDimension.DAY in group_by else None,
        limit=GROUPS_MAX + 1,
    )
    totals = _whole(found)
    costs_micros: dict[int, int] = {}
    for currency in {each.currency for each in totals}:
        numbers = [number for number, each in enumerate(totals) if each.currency == currency]
        costs_micros |= zip(numbers, micros_of_groups([totals[each].cost_picos for each in numbers]), strict=True)
    return [_group(each, costs_micros[number]) for number, each in enumerate(totals)]


async def totals_in_buckets(
    session: AsyncSession,
    query: BucketQuery,
    *,
    seconds: int,
    buckets_max: int,
    columns: Collection[UsageColumn],
    only: UsageFilter,
) -> BucketPage[UsageTotals]:
    """Return one page of buckets of `seconds`, each with its totals by columns and currency.

    A page ends early, at the end of a bucket, so that it has at most `RESULTS_MAX` results. Raises `InvalidRequest` for
    a page of another query, and for a bucket of more than `GROUPS_MAX` groups.
    """
    page = page_of_buckets(query, seconds=seconds, buckets_max=buckets_max, at=now())

    async def totals_of(page: BucketPage[UsageTotals], limit: int) -> list[UsageTotals]:
        covered = span(page)
        if covered is None:
            return []
        start, end = covered
        return await repository.totals(
            session, start=start, end=end, columns=columns, only=only, bucket_seconds=seconds, limit=limit
        )

    totals = await totals_of(page, RESULTS_MAX + 1)
    if len(totals) > RESULTS_MAX:
        # The last bucket may lack some of its groups: it is the next page's, or alone on this one.
        last = totals[-1].bucket or 0
        page = ended_early(page, last, seconds=seconds)
        totals = [each for each in totals if each.bucket != last]
        if not totals:
            totals = _whole(await totals_of(page, GROUPS_MAX + 1))
    fill(page, totals, seconds=seconds)
    return page


def _whole(totals: list[UsageTotals]) -> list[UsageTotals]:
    """Return the totals; raise `InvalidRequest` if there are more than one answer takes."""
    if len(totals) > GROUPS_MAX:
        raise InvalidRequest(
            f"The answer would have more than {GROUPS_MAX} groups: ask for a shorter time, fewer fields to group by, or"
            " filter.",
            param="group_by",
        )
    return totals


async def completions(
    session: AsyncSession, query: ModelUsageQuery, tenant_id: TenantId
) -> BucketPage[CompletionsResult]:
    """Return one tenant's usage in OpenAI's shape, without embeddings and rankings."""
    page = await _merged(session, query, tenant_id, UsageKind.COMPLETIONS)
    return with_results(page, _of_completions)


async def embeddings(
    session: AsyncSession, query: ModelUsageQuery, tenant_id: TenantId
) -> BucketPage[EmbeddingsResult]:
    """Return one tenant's usage for embeddings and rankings in OpenAI's shape."""
    page = await _merged(session, query, tenant_id, UsageKind.EMBEDDINGS)
    return with_results(page, _of_embeddings)


async def _merged(
    session: AsyncSession, query: ModelUsageQuery, tenant_id: TenantId, kind: UsageKind
) -> BucketPage[UsageTotals]:
    """Return a page of one kind of usage with one total for each group, because tokens have no currency."""
    page = await totals_in_buckets(
        session,
        query,
        seconds=BUCKET_SECONDS[query.bucket_width],
        buckets_max=query.buckets_max,
        columns=[_COLUMN_OF_FIELD[field] for field in query.group_by],
        only=UsageFilter(
            tenant_id=tenant_id,
            project_ids=query.project_ids,
            key_ids=query.api_key_ids,
            model_ids=query.models,
            kind=kind,
        ),
    )
    for bucket in page.data:
        bucket.results = _over_currencies(bucket.results)
    return page


def _of_completions(totals: UsageTotals) -> CompletionsResult:
    return CompletionsResult(
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        input_cached_tokens=totals.cached_input_tokens,
        num_model_requests=totals.requests,
        project_id=totals.project_id,
        api_key_id=totals.key_id,
        model=totals.model_id,
    )


def _of_embeddings(totals: UsageTotals) -> EmbeddingsResult:
    return EmbeddingsResult(
        input_tokens=totals.input_tokens,
        num_model_requests=totals.requests,
        project_id=totals.project_id,
        api_key_id=totals.key_id,
        model=totals.model_id,
    )


def _over_currencies(totals: Sequence[UsageTotals]) -> list[UsageTotals]:
    merged: dict[tuple[str | None, str | None, str | None], UsageTotals] = {}
    for each in totals:
        group = (each.project_id, each.key_id, each.model_id)
        merged[group] = _with_tokens_of(merged[group], each) if group in merged else each
    return list(merged.values())


def _with_tokens_of(totals: UsageTotals, other: UsageTotals) -> UsageTotals:
    return replace(
        totals,
        requests=totals.requests + other.requests,
        input_tokens=totals.input_tokens + other.input_tokens,
        cached_input_tokens=totals.cached_input_tokens + other.cached_input_tokens,
        output_tokens=totals.output_tokens + other.output_tokens,
    )


def _group(totals: UsageTotals, cost_micros: int) -> UsageGroup:
    return UsageGroup(
        tenant_id=totals.tenant_id,
        project_id=totals.project_id,
        key_id=totals.key_id,
        model_id=totals.model_id,
        operation=totals.operation,
        day=None if totals.bucket is None else datetime.fromtimestamp(totals.bucket, UTC).date(),
        requests=totals.requests,
        input_tokens=totals.input_tokens,
        cached_input_tokens=totals.cached_input_tokens,
        output_tokens=totals.output_tokens,
        cost_micros=cost_micros,
        cost_picos=totals.cost_picos,
        currency=totals.currency,
        estimated_requests=totals.estimated_requests,
    )
