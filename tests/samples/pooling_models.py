"""Embedding and rerank models of the small chat model's weights: they compute, but nothing that is of use."""

from typing import Any

from finpool.catalogue.model.service import Catalogue, default_directory

EMBEDDING = "small-embedding"
RERANK = "small-rerank"
COSINE = "small-cosine"
CHAT = "smollm2-135m-instruct"
CONTEXT_TOKENS = 256
_POOLING = {"embedding": "mean", "rerank": "rank"}


def pooling_declaration(model_id: str, kind: str, **changes: Any) -> dict[str, Any]:
    """Return the declaration of a model for llama.cpp that gives vectors or scores."""
    small = Catalogue.load(default_directory()).get(CHAT).model_dump(mode="json")
    kept = ("weights", "licence", "price")
    return {
        **{name: small[name] for name in kept},
        "id": model_id,
        "title": model_id,
        "kind": kind,
        "engine": {"name": "llamacpp", "slots": 2, "threads": 1, "pooling": _POOLING[kind]},
        "context_tokens": CONTEXT_TOKENS,
        **changes,
    }
