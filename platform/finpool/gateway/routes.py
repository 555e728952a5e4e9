"""The OpenAI-compatible routes."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from finpool.catalogue.errors import ModelNotFound, TierNotOffered
from finpool.catalogue.version.errors import ModelNotReady
from finpool.gateway.answer.assemble import Completion
from finpool.gateway.answer.render import chat_renderer, text_renderer
from finpool.gateway.answer.schemas import (
    ChatCompletionChunk,
    ChatCompletionView,
    UsableModelList,
    UsableModelView,
)
from finpool.gateway.answer.text_schemas import TextCompletionChunk, TextCompletionView
from finpool.gateway.answer.texts import TextCompletion, TextRenderer
from finpool.gateway.answer.vector_schemas import EmbeddingsView, RankingView
from finpool.gateway.answer.vectors import COHERE, JINA, EmbeddingList, Ranking, RankingApi
from finpool.gateway.call.admission import Admitted
from finpool.gateway.errors import (
    IdempotentAnswerTooLarge,
    InvalidJson,
    InvalidValue,
    LargeBodiesExceeded,
    QueueRefusal,
    UnknownParameter,
    UnsupportedParameter,
)
from finpool.gateway.idempotency.errors import (
    IdempotencyKeyReused,
    IdempotencyLimitExceeded,
    IdempotencyUnavailable,
    IdempotentRequestRunning,
    InvalidIdempotencyKey,
    TooManyReplays,
)
from finpool.gateway.request.body_room import BODY_ROOM
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.intake import parse_chat_request, parse_request, parsed
from finpool.gateway.request.vectors import EmbeddingRequest, RerankRequest
from finpool.gateway.routes_answers import ModelAnswer, StreamWriter, WholeWriter, Writer
from finpool.gateway.routes_repeats import IdempotentAnswer
from finpool.gateway.service import Gateway
from finpool.kernel.actor import Actor
from finpool.kernel.answer_headers import ALWAYS_WITH_A_MODELS_ANSWER, OF_A_STREAM, RATE_LIMITS, REPLAYED
from finpool.kernel.clock import now
from finpool.kernel.door.direct import DirectRoute
from finpool.kernel.door.headers import decisive_header, idempotency_key, require_json
from finpool.kernel.door.openapi import IDEMPOTENT, answer_headers, event_stream, json_body, refusals
from finpool.kernel.door.web import DoorRoute, requires
from finpool.kernel.ids import RequestId
from finpool.metering.errors import SpoolUnavailable
from finpool.quota.errors import InsufficientQuota, QuotaUnavailable, RateLimitExceeded, RequestAboveLimit
from finpool.serving.errors import EngineBusy, EngineFailed, EngineRefused, EngineUnavailable, ModelCold

router = APIRouter(prefix="/v1", tags=["inference"], route_class=DoorRoute)
direct_router = APIRouter(tags=["inference"], route_class=DirectRoute)

Caller = Annotated[Actor, Depends(requires("inference:call"))]
Reader = Annotated[Actor, Depends(requires("model:read"))]

IDEMPOTENCY_ERRORS = (
    InvalidIdempotencyKey,
    IdempotencyKeyReused,
    IdempotentRequestRunning,
    IdempotencyLimitExceeded,
    IdempotencyUnavailable,
    IdempotentAnswerTooLarge,
    TooManyReplays,
)
"""The errors of a request with an `Idempotency-Key`."""

CALL_ERRORS = (
    *IDEMPOTENCY_ERRORS,
    InvalidJson,
    UnknownParameter,
    InvalidValue,
    UnsupportedParameter,
    EngineRefused,
    ModelNotFound,
    InsufficientQuota,
    RateLimitExceeded,
    RequestAboveLimit,
    QuotaUnavailable,
    LargeBodiesExceeded,
    QueueRefusal,
    EngineFailed,
    SpoolUnavailable,
    ModelNotReady,
    ModelCold,
    EngineBusy,
    EngineUnavailable,
)
"""The errors of any request to a model."""

CALL_HEADERS = answer_headers(*ALWAYS_WITH_A_MODELS_ANSWER, *RATE_LIMITS, REPLAYED)
CALL_ANSWERS = {200: CALL_HEADERS, **refusals(*CALL_ERRORS)}
STREAMED = "With `stream`: one chunk in each event, then `[DONE]`."
STREAMED_HEADERS = answer_headers(*ALWAYS_WITH_A_MODELS_ANSWER, *RATE_LIMITS, REPLAYED, *OF_A_STREAM)
CHAT_ANSWERS = {
    200: {"content": event_stream(ChatCompletionChunk, STREAMED), **STREAMED_HEADERS},
    **refusals(*CALL_ERRORS, TierNotOffered),
}
TEXT_ANSWERS = {
    200: {"content": event_stream(TextCompletionChunk, STREAMED), **STREAMED_HEADERS},
    **refusals(*CALL_ERRORS),
}


@router.get("/models", responses=refusals(SpoolUnavailable))
async def list_models(request: Request, actor: Reader) -> UsableModelList:
    """List the models that the key's tenant may use."""
    gateway = _gateway(request)
    models = [
        UsableModelView.of(each, gateway.price(actor, each), gateway.started_at) for each in gateway.models(actor)
    ]
    return UsableModelList(data=models)


@router.get("/models/{model_id}", responses=refusals(ModelNotFound, SpoolUnavailable))
async def get_model(model_id: str, request: Request, actor: Reader) -> UsableModelView:
    """Return one model."""
    gateway = _gateway(request)
    model = gateway.model(actor, model_id)
    return UsableModelView.of(model, gateway.price(actor, model), gateway.started_at)


@direct_router.post(
    "/v1/chat/completions",
    response_model=ChatCompletionView,
    openapi_extra={**json_body(ChatRequest), **IDEMPOTENT},
    responses=CHAT_ANSWERS,
)
async def create_chat_completion(request: Request, actor: Caller) -> Response:
    """Complete a chat, whole or streamed."""
    body = await _json_body(request, actor)
    chat = await parsed(actor.tenant, body, parse_chat_request)
    gateway = _gateway(request)
    admitted = gateway.admit(actor, chat, body, RequestId(request.state.request_id))
    include_usage = chat.stream_options is not None and chat.stream_options.include_usage is True
    created = int(now().timestamp())
    tier = admitted.quote.tier
    renderer = chat_renderer(admitted.request_id, admitted.model, created, tier, include_usage=include_usage)
    writer = partial(StreamWriter, renderer) if admitted.streamed else partial(WholeWriter, Completion(renderer))
    return _answer(request, body, gateway, admitted, writer)


@direct_router.post(
    "/v1/completions",
    response_model=TextCompletionView,
    openapi_extra={**json_body(CompletionRequest), **IDEMPOTENT},
    responses=TEXT_ANSWERS,
)
async def create_completion(request: Request, actor: Caller) -> Response:
    """Complete one raw text or several, whole or streamed."""
    body = await _json_body(request, actor)
    asked = await parsed(actor.tenant, body, partial(parse_request, shape=CompletionRequest))
    gateway = _gateway(request)
    admitted = gateway.admit_completion(actor, asked, RequestId(request.state.request_id))
    created = int(now().timestamp())
    renderer = text_renderer(admitted.request_id, admitted.model, created, include_usage=asked.include_usage)
    writer = (
        partial(StreamWriter, TextRenderer(renderer, asked))
        if admitted.streamed
        else partial(WholeWriter, TextCompletion(renderer, asked))
    )
    return _answer(request, body, gateway, admitted, writer)


@direct_router.post(
    "/v1/embeddings",
    response_model=EmbeddingsView,
    openapi_extra={**json_body(EmbeddingRequest), **IDEMPOTENT},
    responses=CALL_ANSWERS,
)
async def create_embeddings(request: Request, actor: Caller) -> Response:
    """Embed one text or several."""
    body = await _json_body(request, actor)
    embedding = await parsed(actor.tenant, body, partial(parse_request, shape=EmbeddingRequest))
    gateway = _gateway(request)
    admitted = gateway.admit_vectors(actor, embedding, RequestId(request.state.request_id))
    writer = partial(WholeWriter, EmbeddingList(embedding, admitted.model))
    return _answer(request, body, gateway, admitted, writer)


_ranking_route = partial(
    direct_router.post,
    response_model=RankingView,
    openapi_extra={**json_body(RerankRequest), **IDEMPOTENT},
    responses=CALL_ANSWERS,
)


@_ranking_route("/rerank")
async def create_unversioned_ranking(request: Request, actor: Caller) -> Response:
    """Order documents by their relevance to a query, for clients of vLLM."""
    return await _rank(request, actor, JINA)


@_ranking_route("/v1/rerank")
async def create_ranking(request: Request, actor: Caller) -> Response:
    """Order documents by their relevance to a query, for clients of Jina and vLLM."""
    return await _rank(request, actor, JINA)


@_ranking_route("/v2/rerank")
async def create_cohere_ranking(request: Request, actor: Caller) -> Response:
    """Order documents by their relevance to a query, for clients of Cohere."""
    return await _rank(request, actor, COHERE)


async def _rank(request: Request, actor: Actor, api: RankingApi) -> Response:
    body = await _json_body(request, actor)
    ranking = await parsed(actor.tenant, body, partial(parse_request, shape=RerankRequest))
    gateway = _gateway(request)
    admitted = gateway.admit_vectors(actor, ranking, RequestId(request.state.request_id))
    writer = partial(WholeWriter, Ranking(ranking, admitted.model, admitted.request_id, api))
    return _answer(request, body, gateway, admitted, writer)


def _answer(request: Request, body: bytes, gateway: Gateway, admitted: Admitted, writer: Writer) -> Response:
    """Return the answer of an admitted request; with an `Idempotency-Key` it is kept, or repeated."""
    actor = admitted.actor
    headers = {"openai-organization": actor.tenant, "openai-version": "2020-10-01"}
    key = idempotency_key(request.scope)
    if key is None:
        return ModelAnswer(gateway.call(admitted), writer, headers)
    identity = gateway.idempotency.identify(actor, key, request.scope["route"].path, body)
    return IdempotentAnswer(gateway, admitted, identity, writer, headers)


def _gateway(request: Request) -> Gateway:
    """Return the gateway; raise `SpoolUnavailable` while an unusable spool keeps it from starting."""
    gateway: Gateway | None = request.app.state.gateway
    if gateway is None:
        raise SpoolUnavailable("This replica's spool cannot be used; an operator has to repair it or free its volume.")
    return gateway


async def _json_body(request: Request, actor: Actor) -> bytes:
    """Return the body of a request to a model, within the room of its tenant."""
    with BODY_ROOM.held(actor.tenant, decisive_header(request.scope, b"content-length")):
        require_json(request.scope)
        return await request.body()
