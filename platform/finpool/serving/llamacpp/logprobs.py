"""OpenAI's log probabilities out of llama.cpp's: one entry for each token, with the token's own bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from finpool.serving.llamacpp.vocabulary import Vocabulary

UNKNOWN_LOGPROB = -9999.0
"""OpenAI's value where no probability is known.

llama.cpp reports one entry for a character of several tokens, with the probability of its last token.
"""


def entries(
    reported: Sequence[Mapping[str, Any]], text: str, tokens: int, vocabulary: Vocabulary, alternatives: int
) -> list[dict[str, Any]]:
    """Return the entries of a text of that many tokens; `reported` holds the engine's entry of the last one."""
    content = text.encode()
    last = vocabulary.bytes_of(reported[-1]["id"]) if reported else b""
    if not reported or not content.endswith(last) or tokens == 1:
        spelled = vocabulary.split(content, tokens) if tokens > 1 else [content]
    else:
        spelled = [*vocabulary.split(content[: len(content) - len(last)], tokens - 1), last]
    found = [_entry(each, UNKNOWN_LOGPROB) for each in spelled]
    if reported:
        found[-1] = _entry(spelled[-1], reported[-1]["logprob"])
        others = reported[-1].get("top_logprobs") or []
        found[-1]["top_logprobs"] = [_plain(each) for each in others[:alternatives]]
    return found


def _entry(content: bytes, logprob: float) -> dict[str, Any]:
    token = content.decode("utf-8", "replace")
    return {"token": token, "logprob": logprob, "bytes": list(content), "top_logprobs": []}


def _plain(alternative: Mapping[str, Any]) -> dict[str, Any]:
    return {name: alternative[name] for name in ("token", "logprob", "bytes")}
