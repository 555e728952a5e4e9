"""The choices of OpenAI's text completion in the shape of a chat's, for engines that answer in the older shape."""

from collections.abc import Mapping
from typing import Any

from finpool.serving.errors import EngineFailed

LOGPROB_MIN = -9999.0
"""OpenAI's value where no probability is known, or where it is 0."""


def delta_of_text(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return a choice of a chat's chunk: the text is a delta, and each token has an entry with its alternatives.

    Raises `EngineFailed` for a choice of another shape. Entries have no `bytes`, because the older shape has none.
    """
    try:
        logprobs = choice.get("logprobs")
        text = choice["text"]
        if type(choice["index"]) is not int or type(text) is not str:
            raise TypeError("a choice has an index and a text")
        return {
            "index": choice["index"],
            "delta": {"content": text} if text else {},
            "finish_reason": choice.get("finish_reason"),
            "logprobs": None if logprobs is None else {"content": _entries(logprobs)},
        }
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise EngineFailed("The model failed to answer.") from error


def _entries(logprobs: Mapping[str, Any]) -> list[dict[str, Any]]:
    tokens, values = logprobs["tokens"], logprobs["token_logprobs"]
    others = logprobs.get("top_logprobs") or [None] * len(tokens)
    return [
        {**_entry(token, value), "top_logprobs": [_entry(*each) for each in (alternatives or {}).items()]}
        for token, value, alternatives in zip(tokens, values, others, strict=True)
    ]


def _entry(token: Any, value: Any) -> dict[str, Any]:
    return {"token": str(token), "logprob": LOGPROB_MIN if value is None else max(float(value), LOGPROB_MIN)}
