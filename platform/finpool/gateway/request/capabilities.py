"""The capabilities that a model needs for a request; a missing one refuses the request by the field's name."""

from finpool.catalogue.model.schemas import Model
from finpool.gateway.errors import InvalidValue, UnsupportedParameter
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.combinations import require_together
from finpool.gateway.request.completion import CompletionRequest
from finpool.gateway.request.messages import AssistantMessage
from finpool.gateway.request.options import needed_capabilities
from finpool.gateway.request.schema_promises import require_enforced
from finpool.gateway.request.vectors import EmbeddingRequest, VectorRequest
from finpool.serving.schemas import Operation

_PATHS = {
    "general": "/v1/chat/completions",
    "financial": "/v1/chat/completions",
    "embedding": "/v1/embeddings",
    "rerank": "/v1/rerank",
}

_CHAT_NEEDS = needed_capabilities(ChatRequest)
_EMBEDDING_NEEDS = needed_capabilities(EmbeddingRequest)


def require_chat(model: Model, request: ChatRequest) -> None:
    """Raise `UnsupportedParameter` unless the model chats and supports the requested fields and schemas."""
    if not model.chats:
        raise _not_there_for(model, "does not chat")
    for param, capability in _CHAT_NEEDS.items():
        if getattr(request, param) and capability not in model.capabilities:
            raise _lacking(model, param)
    if "tools" not in model.capabilities:
        _require_no_tools_in(request, model)
    require_together(model, request)
    require_enforced(model, request)


def require_completion(model: Model, request: CompletionRequest) -> None:
    """Raise `UnsupportedParameter` or `InvalidValue` unless the model completes texts and supports the fields."""
    if not model.completes_texts:
        raise _not_there_for(model, "does not complete texts")
    if request.logprobs is not None and "logprobs" not in model.capabilities:
        raise _lacking(model, "logprobs")
    if request.choices > model.engine.slots:
        raise InvalidValue(
            f"Invalid value for 'n': the model gives at most {model.engine.slots} choices for a prompt.", param="n"
        )


def _require_no_tools_in(request: ChatRequest, model: Model) -> None:
    """Raise `UnsupportedParameter` for an earlier tool call: without tools a template leaves it out in silence."""
    for index, message in enumerate(request.messages):
        if isinstance(message, AssistantMessage) and message.tool_calls:
            raise _lacking(model, f"messages[{index}].tool_calls")


def require_vectors(model: Model, request: VectorRequest) -> Operation:
    """Return the engine's operation; raise `UnsupportedParameter` if the model does not support it."""
    if not isinstance(request, EmbeddingRequest):
        if model.kind != "rerank":
            raise _not_there_for(model, "does not rank documents")
        return Operation.RERANK
    if model.kind != "embedding":
        raise _not_there_for(model, "does not give embeddings")
    for param, capability in _EMBEDDING_NEEDS.items():
        if getattr(request, param) and capability not in model.capabilities:
            raise _lacking(model, param)
    return Operation.EMBED


def _lacking(model: Model, param: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"The model '{model.id}' does not support {param}.", param=param)


def _not_there_for(model: Model, what: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"The model '{model.id}' {what}; it takes {_PATHS[model.kind]}.", param="model")
