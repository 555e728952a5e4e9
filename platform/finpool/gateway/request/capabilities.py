"""The capabilities that a model needs for a request; a missing one refuses the request by the field's name."""

from finpool.catalogue.model.schemas import Model
from finpool.gateway.errors import UnsupportedParameter
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.vectors import EmbeddingRequest, VectorRequest
from finpool.serving.schemas import Operation

_PATHS = {
    "general": "/v1/chat/completions",
    "financial": "/v1/chat/completions",
    "embedding": "/v1/embeddings",
    "rerank": "/v1/rerank",
}


def require_chat(model: Model, request: ChatRequest) -> None:
    """Raise `UnsupportedParameter` unless the model chats and supports the requested fields."""
    if not model.chats:
        raise _not_there_for(model, "does not chat")
    uses = {
        "tools": ("tools", bool(request.tools)),
        "json_schema": (
            "response_format",
            request.response_format is not None and request.response_format.type != "text",
        ),
        "logprobs": ("logprobs", bool(request.logprobs)),
    }
    for capability, (param, used) in uses.items():
        if used and capability not in model.capabilities:
            raise UnsupportedParameter(f"The model '{model.id}' does not support {param}.", param=param)


def require_vectors(model: Model, request: VectorRequest) -> Operation:
    """Return the engine's operation; raise `UnsupportedParameter` if the model does not support it."""
    if not isinstance(request, EmbeddingRequest):
        if model.kind != "rerank":
            raise _not_there_for(model, "does not rank documents")
        return Operation.RERANK
    if model.kind != "embedding":
        raise _not_there_for(model, "does not give embeddings")
    if request.dimensions is not None and "dimensions" not in model.capabilities:
        raise UnsupportedParameter(f"The model '{model.id}' does not support dimensions.", param="dimensions")
    return Operation.EMBED


def _not_there_for(model: Model, what: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"The model '{model.id}' {what}; it takes {_PATHS[model.kind]}.", param="model")
