"""The translation of chat and text completion requests into vLLM's: generation fields, adapter and cache salt."""

import secrets
from collections.abc import Mapping
from typing import Any

from finpool.catalogue.model.schemas import Model
from finpool.serving.continuation import CONTINUE_FIELD, continuation
from finpool.serving.engine.chat_body import messages, output_tokens_max, sampling_fields
from finpool.serving.engine.control_tokens import ControlTokens
from finpool.serving.engine.patterns import with_ecma_patterns
from finpool.serving.engine.prompts import PROMPT_FIELD, prompts_of
from finpool.serving.engine.seeds import SEEDS, folded
from finpool.serving.errors import EngineRefused
from finpool.serving.schemas import ADAPTER_FIELD, UNCOUNTED_FIELD

SALT_FIELD = "cache_salt"
_OURS = frozenset({SALT_FIELD, ADAPTER_FIELD, UNCOUNTED_FIELD, "user", "metadata", "store", "service_tier", "priority"})
"""Fields that are handled here or concern the caller or its priority; the gateway schedules, so no priority passes."""

_OF_THE_PROMPT = ("model", "messages", PROMPT_FIELD, "tools", CONTINUE_FIELD, "add_generation_prompt")


def vllm_request(body: Mapping[str, Any], model: Model, base_name: str, tokens: ControlTokens) -> dict[str, Any]:
    """Return the request for vLLM; raise `EngineRefused` for a field that this engine does not support.

    `base_name` is the engine's name for the model without an adapter. The salt divides vLLM's prefix cache: only
    requests with an equal salt share cached prompts. A request without a salt gets a random one.
    """
    request = _generation(body, model, base_name, _OURS)
    if body.get("stop") and not request.get("logprobs"):
        request |= {"logprobs": True, "top_logprobs": 0}
    request["messages"] = messages(body)
    request |= continuation(request["messages"])
    request["max_completion_tokens"] = output_tokens_max(body, model)
    if (asked := request.get("response_format") or {}).get("json_schema"):
        schema = with_ecma_patterns(asked["json_schema"]["schema"])
        request["response_format"] = {**asked, "json_schema": {**asked["json_schema"], "schema": schema}}
    return tokens.spelled_out(request)


def completion_requests(
    body: Mapping[str, Any], model: Model, base_name: str, tokens: ControlTokens
) -> list[dict[str, Any]]:
    """Return a text completion's request for each prompt; raise `EngineRefused` as `vllm_request`."""
    request = _generation(body, model, base_name, _OURS | {PROMPT_FIELD})
    request["max_tokens"] = output_tokens_max(body, model)
    alternatives = request.pop("top_logprobs", 0)
    if request.pop("logprobs", False):
        request["logprobs"] = alternatives
    elif body.get("stop"):
        request["logprobs"] = 0
    return [{**request, PROMPT_FIELD: tokens.broken(prompt)} for prompt in prompts_of(body)]


def _generation(body: Mapping[str, Any], model: Model, base_name: str, others: frozenset[str]) -> dict[str, Any]:
    """Return the fields that steer the generation and its reports, for a conversation and for a prompt.

    `stop` stays here: `StoppedChoice` cuts the answer, and finds its tokens by their entries of log probabilities.
    """
    request = sampling_fields(body, model, others)
    request.pop("stop", None)
    if not request.get("temperature", 1) and request.get("n", 1) > 1:
        # vLLM refuses greedy choices beside each other. The one likeliest token at a temperature is greedy as well.
        request |= {"temperature": 1.0, "top_k": 1}
    if "seed" in request:
        request["seed"] = folded(request["seed"], SEEDS)
    return {
        **request,
        "model": body.get(ADAPTER_FIELD, base_name),
        "stream": True,
        # An aborted request is billed by the running count in each chunk.
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        SALT_FIELD: _salt(body),
    }


def tokenize_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's request for an engine's request."""
    return {name: request[name] for name in _OF_THE_PROMPT if name in request}


def _salt(body: Mapping[str, Any]) -> str:
    salt = body.get(SALT_FIELD)
    if salt is None:
        return secrets.token_hex(32)
    if not isinstance(salt, str) or not salt:
        raise EngineRefused("The cache salt is not a text.", param=SALT_FIELD)
    return salt
