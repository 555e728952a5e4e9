"""Scheduled prices and price versions."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.catalogue.errors import BeginsInThePast, BeginsTooLate
from finpool.catalogue.model.schemas import Model, Price
from finpool.catalogue.price import repository
from finpool.catalogue.price.models import PriceSchedule
from finpool.catalogue.price.schemas import NewScheduledPrice, PriceBook, ScheduledPrice, TokenPrice
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now

PAST_TOLERANCE = timedelta(minutes=1)
"""A `valid_from` at most this far in the past counts as now: clocks differ, and typing takes time."""

AHEAD_MAX = timedelta(days=36_500)
"""The furthest `valid_from` ahead of now."""


async def book(session: AsyncSession) -> PriceBook:
    """Return every scheduled price as a `PriceBook`."""
    return PriceBook(await repository.schedule(session))


async def register(session: AsyncSession, prices: Iterable[TokenPrice]) -> None:
    """Insert the price versions that `price_version` does not hold yet.

    The recorder calls this in the transaction of its usage records, so every version that usage names exists. A version
    whose name does not match its amounts is left out. Its usage is still recorded, but an invoice over it waits until
    an operator has found the cause.
    """
    await repository.add_versions(session, [each for each in prices if each.is_named_rightly()])


async def price_versions(session: AsyncSession, names: Iterable[str]) -> dict[str, TokenPrice]:
    """Return price versions by name; names that were never used are left out."""
    return {price.price_version: price for price in await repository.versions(session, names)}


async def schedule_price(session: AsyncSession, actor: Actor, model: Model, body: NewScheduledPrice) -> ScheduledPrice:
    """Schedule a price of one tier; return the row in force if it already has this price.

    Raises `BeginsInThePast`, because a request keeps the price of its admission, or `BeginsTooLate`.
    """
    at = now()
    begins = beginning(body.valid_from, at)
    price = None
    if body.price is not None:
        price = TokenPrice.of(model.id, Price(currency=model.price.currency, **body.price.model_dump()))
    held = PriceBook(await repository.schedule(session, model.id)).in_force(model.id, body.tier, begins)
    if held is not None and (held.price, held.off_peak) == (price, body.hours):
        return held
    if price is not None:
        await repository.add_versions(session, [price])
    row = PriceSchedule(
        model_id=model.id,
        tier=body.tier,
        price_version=price.price_version if price is not None else None,
        off_peak_from_minute=body.hours.from_minute if body.hours is not None else None,
        off_peak_until_minute=body.hours.until_minute if body.hours is not None else None,
        valid_from=begins,
        created_at=at,
        created_by=actor.credential_id,
    )
    row = await repository.add_schedule(session, row)
    record = body.model_dump(exclude={"valid_from"}, exclude_none=True, mode="json")
    record |= {"model_id": model.id, "price_version": row.price_version, "valid_from": begins.isoformat()}
    await audit.append(session, kind="price.scheduled", tenant_id=None, actor=actor, body=record)
    return repository.scheduled(row, price)


def beginning(valid_from: datetime | None, at: datetime) -> datetime:
    """Return the start of a price or contract that is written at `at`; it never lies before `at`.

    Raises `BeginsInThePast` or `BeginsTooLate`.
    """
    if valid_from is None:
        return at
    if valid_from < at - PAST_TOLERANCE:
        raise BeginsInThePast(valid_from)
    if valid_from > at + AHEAD_MAX:
        raise BeginsTooLate(AHEAD_MAX.days)
    return max(valid_from.astimezone(UTC), at)
