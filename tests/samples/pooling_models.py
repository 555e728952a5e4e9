"""Embedding and rerank models of the small chat model's weights: they compute, but nothing that is of use."""

from pathlib import Path
from typing import Any

import yaml

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


def write_pooling_catalogue(directory: Path) -> Path:
    """Write a catalogue with an embedding model and both kinds of rerank models, and return its directory."""
    directory.mkdir()
    cosine = {"name": "llamacpp", "slots": 2, "threads": 1, "pooling": "mean", "scoring": "cosine"}
    for declared in (
        pooling_declaration(EMBEDDING, "embedding"),
        pooling_declaration(RERANK, "rerank"),
        pooling_declaration(COSINE, "rerank", engine=cosine),
    ):
        (directory / f"{declared['id']}.yaml").write_text(yaml.safe_dump(declared))
    return directory
