"""Prices with validity: what operators schedule, and what a price version means."""

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
"""A moment this little in the past is taken for now: clocks differ, and typing takes time."""

AHEAD_MAX = timedelta(days=36_500)
"""Further ahead nothing can be scheduled."""


async def book(session: AsyncSession) -> PriceBook:
    """Read every scheduled price."""
    return PriceBook(await repository.schedule(session))


async def register(session: AsyncSession, prices: Iterable[TokenPrice]) -> None:
    """Write down what these price versions mean, where it is not written yet.

    Whoever records usage calls this in the same transaction, so that every version that usage names is there. One
    whose name is not derived from its amounts is left out: its usage is recorded all the same, and no invoice over it
    is made before somebody has found out why.
    """
    await repository.add_versions(session, [each for each in prices if each.is_named_rightly()])


async def price_versions(session: AsyncSession, names: Iterable[str]) -> dict[str, TokenPrice]:
    """Return what price versions mean, by their names; those that were never used are missing."""
    return {price.price_version: price for price in await repository.versions(session, names)}


async def schedule_price(session: AsyncSession, actor: Actor, model: Model, body: NewScheduledPrice) -> ScheduledPrice:
    """Schedule a price of one tier; what holds at that moment already is no change and is returned.

    Raises `BeginsInThePast` (a request is priced as it is admitted, and nobody may change that afterwards) or
    `BeginsTooLate`.
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


def beginning(asked: datetime | None, at: datetime) -> datetime:
    """Return when something begins that is written at `at`: never before that.

    Raises `BeginsInThePast` or `BeginsTooLate`.
    """
    if asked is None:
        return at
    if asked < at - PAST_TOLERANCE:
        raise BeginsInThePast(asked)
    if asked > at + AHEAD_MAX:
        raise BeginsTooLate(AHEAD_MAX.days)
    return max(asked.astimezone(UTC), at)
