"""Models that differ in their weights alone, for tests of how weights are fetched."""

import hashlib
import importlib.util
from typing import Any

import pytest
from fake_hub import CONTENT

from finpool.catalogue.model.schemas import Model
from finpool.kernel.settings import Settings

needs_pip = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="pip is not installed in this environment"
)

SHA256 = hashlib.sha256(CONTENT).hexdigest()


def model_with(weights: dict[str, Any]) -> Model:
    price = dict.fromkeys(
        (
            "input_micros_per_million_tokens",
            "cached_input_micros_per_million_tokens",
            "output_micros_per_million_tokens",
        ),
        1,
    )
    return Model.model_validate(
        {
            "id": "small",
            "title": "Small",
            "kind": "general",
            "engine": {"name": "llamacpp", "slots": 1, "threads": 1},
            "weights": {"sha256": SHA256, **weights},
            "context_tokens": 8,
            "output_tokens_default": 4,
            "output_tokens_max": 4,
            "licence": "MIT",
            "price": {"currency": "CNY", **price},
        }
    )


def leftovers(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.weights_path.rglob("*") if path.name != ".lock" and path.is_file())


def ignore(line: str) -> None:
    """Take a line of progress."""
