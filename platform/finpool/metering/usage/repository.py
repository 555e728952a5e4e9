"""The one query over usage: sums, always split by currency, because amounts of two currencies are never added."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    Subquery,
    and_,
    cast,
    extract,
    false,
    func,
    literal_column,
    not_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.money import Picos
from finpool.metering.models import UsageAdjustment, UsageRecord
from finpool.metering.usage.schemas import EMBEDDING_OPERATIONS, UsageColumn, UsageFilter, UsageKind, UsageTotals


async def totals(
    session: AsyncSession,
    *,
    start: datetime,
    end: datetime,
    columns: Collection[UsageColumn],
    only: UsageFilter,
    bucket_seconds: int | None = None,
    limit: int,
) -> list[UsageTotals]:
    """Return at most `limit` sums of usage in [start, end), split by columns and, if given, by time buckets in UTC.

    Records count at their admission, adjustments at their recording. The order is by bucket, then by columns in their
    declared order, then by currency.
    """
    counted = _counted(start, end)
    split: list[SQLColumnExpression[Any]] = [counted.c[name] for name in UsageColumn if name in columns]
    if bucket_seconds is not None:
        split.insert(0, _bucket(counted.c.counted_at, bucket_seconds))
    split.append(counted.c.currency)
    query = (
        select(
            *split,
            func.sum(counted.c.requests).label("requests"),
            func.sum(counted.c.input_tokens).label("input_tokens"),
            func.sum(counted.c.cached_input_tokens).label("cached_input_tokens"),
            func.sum(counted.c.output_tokens).label("output_tokens"),
            func.sum(counted.c.cost_picos).label("cost_picos"),
            func.sum(counted.c.estimated).label("estimated_requests"),
        )
        .group_by(*split)
        .order_by(*split)
        .limit(limit)
    )
    rows = (await session.execute(_restricted(query, counted, only))).mappings().all()
    return [
        UsageTotals(
            **{name: row[name] for name in (*UsageColumn, "bucket") if name in row},
            currency=row["currency"],
            requests=int(row["requests"]),
            input_tokens=int(row["input_tokens"]),
            cached_input_tokens=int(row["cached_input_tokens"]),
            output_tokens=int(row["output_tokens"]),
            cost_picos=Picos(int(row["cost_picos"])),
            estimated_requests=int(row["estimated_requests"]),
        )
        for row in rows
    ]


def _counted(start: datetime, end: datetime) -> Subquery:
    """Return the records admitted and the adjustments recorded in [start, end); their sum equals the ledger's."""
    record, adjustment = UsageRecord, UsageAdjustment
    counted_at = func.coalesce(col(record.counted_at), col(record.settled_at))
    records = select(
        col(record.tenant_id),
        col(record.project_id),
        col(record.key_id),
        col(record.model_id),
        col(record.price_version),
        col(record.currency),
        col(record.input_tokens),
        col(record.cached_input_tokens),
        col(record.output_tokens),
        col(record.cost_picos),
        col(record.operation),
        counted_at.label("counted_at"),
        literal_column("1").label("requests"),
        cast(col(record.estimated), Integer).label("estimated"),
    ).where(counted_at >= start, counted_at < end)
    same_request = and_(
        col(record.tenant_id) == col(adjustment.tenant_id), col(record.request_id) == col(adjustment.request_id)
    )
    adjustments = (
        select(
            col(adjustment.tenant_id),
            col(adjustment.project_id),
            col(record.key_id),
            col(adjustment.model_id),
            col(adjustment.price_version),
            col(adjustment.currency),
            col(adjustment.input_tokens),
            col(adjustment.cached_input_tokens),
            col(adjustment.output_tokens),
            col(adjustment.cost_picos),
            col(record.operation),
            col(adjustment.recorded_at),
            literal_column("0"),
            literal_column("0"),
        )
        .join_from(adjustment, record, same_request, isouter=True)
        .where(col(adjustment.recorded_at) >= start, col(adjustment.recorded_at) < end)
    )
    return union_all(records, adjustments).subquery("counted")


def _bucket(counted_at: ColumnElement[datetime], seconds: int) -> ColumnElement[int]:
    # The width is literal: as a parameter it would be two parameters, in SELECT and in GROUP BY, and Postgres would see
    # two different expressions.
    width: ColumnElement[int] = literal_column(str(int(seconds)))
    return (cast(func.floor(extract("epoch", counted_at) / width), BigInteger) * width).label("bucket")


def _restricted(query: Select[Any], counted: Subquery, only: UsageFilter) -> Select[Any]:
    if only.tenant_id is not None:
        query = query.where(counted.c.tenant_id == only.tenant_id)
    for column, wanted in (
        (counted.c.project_id, only.project_ids),
        (counted.c.key_id, only.key_ids),
        (counted.c.model_id, only.model_ids),
        (counted.c.price_version, only.price_versions),
    ):
        if wanted:
            query = query.where(column.in_(wanted))
    if only.kind is not None:
        embeds = func.coalesce(counted.c.operation.in_(EMBEDDING_OPERATIONS), false())
        query = query.where(embeds if only.kind is UsageKind.EMBEDDINGS else not_(embeds))
    return query
