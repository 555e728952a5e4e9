"""OpenAI's usage object, the report of every engine."""

from collections.abc import Mapping
from typing import Any

from finpool.catalogue.model.schemas import TokenUsage


def usage_object(usage: TokenUsage) -> dict[str, Any]:
    """Return OpenAI's usage object for these tokens."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
    }


def usage_with(earlier: TokenUsage, reported: Mapping[str, Any]) -> TokenUsage:
    """Return the sum of earlier tokens and those of a usage object that an engine of ours made."""
    return TokenUsage(
        earlier.input_tokens + reported["prompt_tokens"],
        earlier.cached_input_tokens + reported["prompt_tokens_details"]["cached_tokens"],
        earlier.output_tokens + reported["completion_tokens"],
    )
