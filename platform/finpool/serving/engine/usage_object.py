"""OpenAI's usage object, the report of every engine."""

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
