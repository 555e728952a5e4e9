"""The operators' routes of prices."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from finpool.audit.errors import AuditEntryTooLarge
from finpool.catalogue.errors import BeginsInThePast, BeginsTooLate, ModelNotFound
from finpool.catalogue.model.schemas import Price
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.price import service
from finpool.catalogue.price.schemas import Amounts, NewScheduledPrice, ScheduledPrice, Tier, TokenPrice
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.door.openapi import refusals
from finpool.kernel.door.web import DoorRoute, SectorSession, requires

router = APIRouter(prefix="/v1/models/{model_id}/prices", tags=["prices"], route_class=DoorRoute)

PriceReader = Annotated[Actor, Depends(requires("price:read"))]
PriceWriter = Annotated[Actor, Depends(requires("price:write"))]


class PriceView(BaseModel):
    """A scheduled price; the amounts are in micros per million tokens, null if the row ends the tier."""

    object: Literal["price"] = "price"
    tier: Tier
    valid_from: datetime
    price_version: str | None
    price: Amounts | None
    off_peak_from: str | None
    off_peak_until: str | None
    in_force: bool

    @classmethod
    def of(cls, row: ScheduledPrice, *, in_force: bool) -> Self:
        """Return the response for a row of the schedule."""
        return cls(
            tier=row.tier,
            valid_from=row.valid_from,
            price_version=row.price.price_version if row.price is not None else None,
            price=_amounts(row.price) if row.price is not None else None,
            off_peak_from=_time(row.off_peak.from_minute) if row.off_peak is not None else None,
            off_peak_until=_time(row.off_peak.until_minute) if row.off_peak is not None else None,
            in_force=in_force,
        )


class PriceList(BaseModel):
    """The prices of a model: the declared price, which holds until a standard price begins, and the scheduled ones."""

    object: Literal["list"] = "list"
    model: str
    declared: Price
    declared_price_version: str
    declared_in_force: bool
    data: list[PriceView]


@router.get("", responses=refusals(ModelNotFound))
async def list_prices(model_id: str, request: Request, _: PriceReader, session: SectorSession) -> PriceList:
    """List a model's prices by tier, each tier in order of `valid_from`."""
    catalogue: Catalogue = request.app.state.catalogue
    model, book, at = catalogue.get(model_id), await service.book(session), now()
    held = {tier: book.in_force(model.id, tier, at) for tier in Tier}
    return PriceList(
        model=model.id,
        declared=model.price,
        declared_price_version=model.price_version,
        declared_in_force=held[Tier.STANDARD] is None,
        data=[PriceView.of(row, in_force=row is held[row.tier]) for row in book.rows(model.id)],
    )


@router.post("", status_code=201, responses=refusals(ModelNotFound, BeginsInThePast, BeginsTooLate, AuditEntryTooLarge))
async def schedule_price(
    model_id: str, body: NewScheduledPrice, request: Request, actor: PriceWriter, session: SectorSession
) -> PriceView:
    """Schedule a price of a tier, or end the tier; requests admitted before keep their price."""
    catalogue: Catalogue = request.app.state.catalogue
    row = await service.schedule_price(session, actor, catalogue.get(model_id), body)
    return PriceView.of(row, in_force=row.valid_from <= now())


def _amounts(price: TokenPrice) -> Amounts:
    return Amounts(
        input_micros_per_million_tokens=price.input_picos,
        cached_input_micros_per_million_tokens=price.cached_input_picos,
        output_micros_per_million_tokens=price.output_picos,
    )


def _time(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
