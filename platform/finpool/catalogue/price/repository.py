"""Queries on price versions and the price schedule; neither belongs to a tenant."""

from collections.abc import Iterable

from sqlalchemy import insert as plain_insert
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.catalogue.price.models import PriceSchedule, PriceVersion
from finpool.catalogue.price.schemas import OffPeakHours, ScheduledPrice, Tier, TokenPrice
from finpool.kernel.clock import now


async def add_versions(session: AsyncSession, prices: Iterable[TokenPrice]) -> None:
    """Insert the versions that the table does not hold yet."""
    rows = [
        {
            "price_version": price.price_version,
            "model_id": price.model_id,
            "currency": price.currency,
            "input_picos": price.input_picos,
            "cached_input_picos": price.cached_input_picos,
            "output_picos": price.output_picos,
            "created_at": now(),
        }
        for price in sorted(prices, key=lambda each: each.price_version)
    ]
    if rows:
        await session.execute(insert(PriceVersion).values(rows).on_conflict_do_nothing())


async def versions(session: AsyncSession, names: Iterable[str]) -> list[TokenPrice]:
    """Return the versions with these names; unknown names are left out."""
    query = select(PriceVersion).where(col(PriceVersion.price_version).in_(list(names)))
    return [_price(row) for row in (await session.execute(query)).scalars()]


async def add_schedule(session: AsyncSession, row: PriceSchedule) -> PriceSchedule:
    """Insert one row of the schedule and return it with its number."""
    values = row.model_dump(exclude={"schedule_id"})
    statement = plain_insert(PriceSchedule).values(values).returning(PriceSchedule)
    written: PriceSchedule = (await session.execute(statement)).scalar_one()
    return written


async def schedule(session: AsyncSession, model_id: str | None = None) -> list[ScheduledPrice]:
    """Return the scheduled prices of one model, or of all for None."""
    version = col(PriceSchedule.price_version) == col(PriceVersion.price_version)
    query = select(PriceSchedule, PriceVersion).outerjoin(PriceVersion, version)
    if model_id is not None:
        query = query.where(col(PriceSchedule.model_id) == model_id)
    rows: list[tuple[PriceSchedule, PriceVersion | None]] = [
        (row, named) for row, named in await session.execute(query)
    ]
    return [scheduled(row, None if named is None else _price(named)) for row, named in rows]


def scheduled(row: PriceSchedule, price: TokenPrice | None) -> ScheduledPrice:
    """Return the in-memory form of a schedule row."""
    hours = None
    if row.off_peak_from_minute is not None and row.off_peak_until_minute is not None:
        hours = OffPeakHours(row.off_peak_from_minute, row.off_peak_until_minute)
    return ScheduledPrice(
        schedule_id=row.schedule_id or 0,
        model_id=row.model_id,
        tier=Tier(row.tier),
        valid_from=row.valid_from,
        price=price,
        off_peak=hours,
    )


def _price(row: PriceVersion) -> TokenPrice:
    return TokenPrice(
        price_version=row.price_version,
        model_id=row.model_id,
        currency=row.currency,
        input_picos=row.input_picos,
        cached_input_picos=row.cached_input_picos,
        output_picos=row.output_picos,
    )
