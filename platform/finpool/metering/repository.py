"""The one query over usage records: sums, always split by currency, because money of two currencies is never added."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    SQLColumnExpression,
    cast,
    extract,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.money import Picos
from finpool.metering.models import UsageRecord
from finpool.metering.schemas import UsageColumn, UsageFilter, UsageTotals


async def totals(
    session: AsyncSession,
    *,
    start: datetime,
    end: datetime,
    columns: Collection[UsageColumn],
    only: UsageFilter,
    bucket_seconds: int | None = None,
) -> list[UsageTotals]:
    """Sum what was settled in [start, end), split by columns and, if given, by buckets of UTC time.

    The order is fixed: by bucket, by the columns in their declared order, by currency.
    """
    split: list[SQLColumnExpression[Any]] = [col(getattr(UsageRecord, name)) for name in UsageColumn if name in columns]
    if bucket_seconds is not None:
        split.insert(0, _bucket(bucket_seconds))
    split.append(col(UsageRecord.currency))
    query = (
        select(
            *split,
            func.count().label("requests"),
            func.sum(col(UsageRecord.input_tokens)).label("input_tokens"),
            func.sum(col(UsageRecord.cached_input_tokens)).label("cached_input_tokens"),
            func.sum(col(UsageRecord.output_tokens)).label("output_tokens"),
            func.sum(col(UsageRecord.cost_picos)).label("cost_picos"),
            func.count().filter(col(UsageRecord.estimated)).label("estimated_requests"),
        )
        .where(col(UsageRecord.settled_at) >= start, col(UsageRecord.settled_at) < end)
        .group_by(*split)
        .order_by(*split)
    )
    rows = (await session.execute(_restricted(query, only))).mappings().all()
    return [
        UsageTotals(
            **{name: row[name] for name in (*UsageColumn, "bucket") if name in row},
            currency=row["currency"],
            requests=row["requests"],
            input_tokens=int(row["input_tokens"]),
            cached_input_tokens=int(row["cached_input_tokens"]),
            output_tokens=int(row["output_tokens"]),
            cost_picos=Picos(int(row["cost_picos"])),
            estimated_requests=row["estimated_requests"],
        )
        for row in rows
    ]


def _bucket(seconds: int) -> ColumnElement[int]:
    # The width is written into the query: as a parameter it would be two, in SELECT and in GROUP BY, and Postgres
    # could not know that both are the same expression.
    width: ColumnElement[int] = literal_column(str(int(seconds)))
    return (cast(func.floor(extract("epoch", col(UsageRecord.settled_at)) / width), BigInteger) * width).label("bucket")


def _restricted(query: Select[Any], only: UsageFilter) -> Select[Any]:
    if only.tenant_id is not None:
        query = query.where(col(UsageRecord.tenant_id) == only.tenant_id)
    for column, wanted in (
        (UsageRecord.project_id, only.project_ids),
        (UsageRecord.key_id, only.key_ids),
        (UsageRecord.model_id, only.model_ids),
        (UsageRecord.price_version, only.price_versions),
    ):
        if wanted:
            query = query.where(col(column).in_(wanted))
    return query
