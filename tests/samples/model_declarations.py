"""Declarations of models that tests change as they need."""

from typing import Any

PRICE = {
    "currency": "CNY",
    "input_micros_per_million_tokens": 1_000_000,
    "cached_input_micros_per_million_tokens": 500_000,
    "output_micros_per_million_tokens": 2_000_000,
}
CPU_ENGINE: dict[str, Any] = {"name": "vllm", "device": "cpu", "slots": 4, "threads": 2, "kv_cache_gibibytes": 1}
CUDA_ENGINE: dict[str, Any] = {"name": "vllm", "device": "cuda", "slots": 128, "threads": 4}
FILES = {"config.json": "1" * 64, "model.safetensors": "2" * 64, "tokenizer.json": "3" * 64}
ADAPTER_FILES = {"adapter_config.json": "4" * 64, "adapter_model.safetensors": "5" * 64}


def vllm_declaration(**changes: Any) -> dict[str, Any]:
    """Return the declaration of a model that vLLM serves out of a directory."""
    declared = {
        "id": "base",
        "title": "Base",
        "kind": "general",
        "engine": CPU_ENGINE,
        "weights": {"source": "directory", "path": "/models/base", "files": FILES},
        "context_tokens": 1024,
        "output_tokens_default": 64,
        "output_tokens_max": 512,
        "licence": "Apache-2.0",
        "price": PRICE,
    }
    return declared | changes


def adapter_declaration(**changes: Any) -> dict[str, Any]:
    """Return the declaration of an adapter for that model."""
    declared = {
        "id": "tuned",
        "title": "Tuned",
        "base": "base",
        "weights": {"source": "directory", "path": "/models/tuned", "files": ADAPTER_FILES},
        "licence": "MIT",
        "price": {**PRICE, "output_micros_per_million_tokens": 3_000_000},
    }
    return declared | changes
