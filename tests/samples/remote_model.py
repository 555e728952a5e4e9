"""A model that somebody else serves, as a catalogue declares it."""

from typing import Any

KEY = "sk-remote-" + "k" * 40


def remote_declaration(base_url: str, model_id: str = "far", **engine: Any) -> dict[str, Any]:
    """Return the declaration of a remote model on loopback; `engine` changes what its engine is declared with."""
    return {
        "id": model_id,
        "title": "A model served elsewhere",
        "kind": "general",
        "engine": {
            "name": "openai",
            "base_url": base_url,
            "plain_http": base_url.startswith("http:"),
            "model": "upstream/large",
            "secret": "remote_far",
            "serving_domain": "pool",
            "slots": 4,
            "usage": "final",
            **engine,
        },
        "weights": {"source": "remote", "version": "2026-05-01"},
        "context_tokens": 2048,
        "output_tokens_default": 64,
        "output_tokens_max": 512,
        "licence": "Apache-2.0",
        "capabilities": ["logprobs", "json_schema", "tools"],
        "price": {
            "currency": "CNY",
            "input_micros_per_million_tokens": 1_000_000,
            "cached_input_micros_per_million_tokens": 1_000_000,
            "output_micros_per_million_tokens": 2_000_000,
        },
    }


def remote_pooling_declaration(base_url: str, model_id: str, kind: str) -> dict[str, Any]:
    """Return the declaration of a remote model that embeds or ranks."""
    declaration = remote_declaration(base_url, model_id) | {"kind": kind, "capabilities": []}
    del declaration["output_tokens_default"], declaration["output_tokens_max"]
    return declaration
