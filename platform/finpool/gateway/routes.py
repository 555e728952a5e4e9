"""The OpenAI-compatible routes."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from finpool.billing.contract.schemas import Quote
from finpool.catalogue.model.schemas import Model
from finpool.gateway.answer.assemble import Completion
from finpool.gateway.answer.render import Renderer
from finpool.gateway.answer.vectors import EmbeddingList, Ranking
from finpool.gateway.errors import IdempotencyUnsupported
from finpool.gateway.request.intake import parse_chat_request, parse_request, require_json
from finpool.gateway.request.vectors import EmbeddingRequest, RerankRequest
from finpool.gateway.routes_answers import StreamedAnswer, WholeAnswer
from finpool.gateway.routes_direct import DirectRoute
from finpool.gateway.service import Gateway
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import RequestId
from finpool.kernel.web import DoorRoute, requires

router = APIRouter(prefix="/v1", tags=["inference"], route_class=DoorRoute)
direct_router = APIRouter(prefix="/v1", tags=["inference"], route_class=DirectRoute)

Caller = Annotated[Actor, Depends(requires("inference:call"))]
Reader = Annotated[Actor, Depends(requires("model:read"))]


@router.get("/models")
async def list_models(request: Request, actor: Reader) -> dict[str, Any]:
    """List the models the key's tenant may use."""
    gateway: Gateway = request.app.state.gateway
    models = [_model(each, gateway.price(actor, each), gateway.started_at) for each in gateway.models(actor)]
    return {"object": "list", "data": models}


@router.get("/models/{model_id}")
async def get_model(model_id: str, request: Request, actor: Reader) -> dict[str, Any]:
    """Return one model."""
    gateway: Gateway = request.app.state.gateway
    model = gateway.model(actor, model_id)
    return _model(model, gateway.price(actor, model), gateway.started_at)


@direct_router.post("/chat/completions")
async def create_chat_completion(request: Request, actor: Caller) -> Response:
    """Complete a chat, whole or streamed."""
    gateway: Gateway = request.app.state.gateway
    body = await _json_body(request)
    chat = parse_chat_request(body)
    admitted = gateway.admit(actor, chat, len(body), RequestId(request.state.request_id))
    include_usage = chat.stream_options is not None and chat.stream_options.include_usage
    created = int(now().timestamp())
    tier = admitted.quote.tier
    renderer = Renderer(admitted.request_id, admitted.model, created, tier, include_usage=include_usage)
    call, headers = gateway.call(admitted), _answer_headers(actor)
    if admitted.streamed:
        return StreamedAnswer(call, renderer, headers)
    return WholeAnswer(call, Completion(renderer), headers)


@direct_router.post("/embeddings")
async def create_embeddings(request: Request, actor: Caller) -> Response:
    """Embed one text or several."""
    gateway: Gateway = request.app.state.gateway
    asked = parse_request(await _json_body(request), EmbeddingRequest)
    admitted = gateway.admit_vectors(actor, asked, RequestId(request.state.request_id))
    return WholeAnswer(gateway.call(admitted), EmbeddingList(asked, admitted.model), _answer_headers(actor))


@direct_router.post("/rerank")
async def create_ranking(request: Request, actor: Caller) -> Response:
    """Order documents by their relevance to a query."""
    gateway: Gateway = request.app.state.gateway
    asked = parse_request(await _json_body(request), RerankRequest)
    admitted = gateway.admit_vectors(actor, asked, RequestId(request.state.request_id))
    ranking = Ranking(asked, admitted.model, admitted.request_id)
    return WholeAnswer(gateway.call(admitted), ranking, _answer_headers(actor))


async def _json_body(request: Request) -> bytes:
    """Return the body of a request to a model; raises what no such request may ask for."""
    if request.headers.get("idempotency-key") is not None:
        raise IdempotencyUnsupported("Idempotency-Key is not supported yet.", param="idempotency-key")
    require_json(request.headers.get("content-type"))
    return await request.body()


def _answer_headers(actor: Actor) -> dict[str, str]:
    """Return the headers of every answer of a model."""
    return {"openai-organization": actor.tenant, "openai-version": "2020-10-01"}


def _model(model: Model, quote: Quote, created: int) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": created,
        "owned_by": "finpool",
        "root": model.id,
        "kind": model.kind,
        "title": model.title,
        "context_tokens": model.context_tokens,
        "output_tokens_max": model.output_tokens_max,
        "licence": model.licence,
        "filing_number": model.filing_number,
        "weights_sha256": model.weights_sha256,
        "weights_verified": model.weights_verified,
        "serving_domain": model.serving_domain,
        "price": {"version": quote.price_version, **quote.declared().model_dump()},
    }
