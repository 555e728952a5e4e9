"""The operators' routes of the catalogue."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from finpool.catalogue.model.schemas import Model, Price, price_version_name
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.price import service as prices
from finpool.catalogue.price.schemas import PriceBook, Tier
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.door.web import DoorRoute, SectorSession, requires
from finpool.kernel.ids import ModelId, TenantId

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=DoorRoute)

ModelReader = Annotated[Actor, Depends(requires("model:read"))]


class ModelView(BaseModel):
    """A model as operators see it. `price` is the standard price in force, in micros per million tokens.

    `base` is the model whose engine serves an adapter. `tenants` are the tenants that may call the model, None for all
    whose contracts allow it. `text_completions` says whether it serves `POST /v1/completions` too.
    """

    object: Literal["model"] = "model"
    id: ModelId
    title: str
    kind: str
    engine: str
    base: ModelId | None
    tenants: list[TenantId] | None
    context_tokens: int
    output_tokens_default: int
    output_tokens_max: int
    licence: str
    filing_number: str | None
    capabilities: list[str]
    text_completions: bool
    weights_sha256: str
    weights_verified: bool
    serving_domain: str
    price: Price
    price_version: str

    @classmethod
    def of(cls, model: Model, price: Price) -> Self:
        """Return the response for a catalogue entry and its price."""
        return cls(
            id=model.id,
            title=model.title,
            kind=model.kind,
            engine=model.engine.name,
            base=model.base,
            tenants=None if model.tenants is None else sorted(model.tenants),
            context_tokens=model.context_tokens,
            output_tokens_default=model.output_tokens_default,
            output_tokens_max=model.output_tokens_max,
            licence=model.licence,
            filing_number=model.filing_number,
            capabilities=sorted(model.capabilities),
            text_completions=model.completes_texts,
            weights_sha256=model.weights_sha256,
            weights_verified=model.weights_verified,
            serving_domain=model.serving_domain,
            price=price,
            price_version=price_version_name(model.id, price),
        )


class ModelList(BaseModel):
    """All models of the catalogue."""

    object: Literal["list"] = "list"
    data: list[ModelView]


@router.get("")
async def list_models(request: Request, _: ModelReader, session: SectorSession) -> ModelList:
    """List the catalogue."""
    catalogue: Catalogue = request.app.state.catalogue
    book, at = await prices.book(session), now()
    return ModelList(data=[ModelView.of(model, _standard_price(model, book, at)) for model in catalogue.all()])


def _standard_price(model: Model, book: PriceBook, at: datetime) -> Price:
    scheduled = book.in_force(model.id, Tier.STANDARD, at)
    return model.price if scheduled is None or scheduled.price is None else scheduled.price.declared()
