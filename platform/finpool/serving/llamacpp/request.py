"""The translation of chat and text completion requests, with vLLM's extra fields, into llama.cpp's requests."""

from collections.abc import Mapping, Sequence
from typing import Any

from finpool.catalogue.model.schemas import Model
from finpool.serving.continuation import continuation
from finpool.serving.engine.chat_body import messages, output_tokens_max, sampling_fields
from finpool.serving.engine.control_tokens import ControlTokens
from finpool.serving.engine.prompts import PROMPT_FIELD, prompts_of
from finpool.serving.engine.seeds import SEEDS, folded
from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.grammar import answer_rule
from finpool.serving.llamacpp.guidance import HEAD
from finpool.serving.llamacpp.tools import FREE_ANSWER, OPENING, calls_grammar, in_plain_words, offered
from finpool.serving.schemas import UNCOUNTED_FIELD

_RENAMED = {"repetition_penalty": "repeat_penalty"}

_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")

_WITHOUT_EFFECT = frozenset({"user", "metadata", "store", "service_tier", "priority", "cache_salt", UNCOUNTED_FIELD})
"""Fields about the caller, scheduling or caches; llama.cpp schedules in order and shares no cache here."""


def llamacpp_request(body: Mapping[str, Any], model: Model, tokens: ControlTokens) -> dict[str, Any]:
    """Return the request for llama.cpp; raise `EngineRefused` for a field that this engine does not support.

    Other fields never reach the engine, because some of llama.cpp's own (`cache_prompt`, `id_slot`, `grammar`) would
    break the isolation of tenants. `stop` does not reach it either: `StopSearch` cuts the answer.
    """
    request = _generation(body, model, _WITHOUT_EFFECT)
    for name in _OF_TOOLS:
        request.pop(name, None)
    functions = offered(body)
    if (grammar := _grammar(request.pop("response_format", None), body, functions)) is not None:
        request["grammar"] = grammar
    if request.get("logprobs"):
        # Without alternatives llama.cpp reports no probabilities at all, so it always reports one.
        request["top_logprobs"] = max(request.get("top_logprobs", 0), 1)
    request["messages"] = in_plain_words(messages(body), functions)
    request |= continuation(request["messages"])
    return tokens.spelled_out(request)


def completion_requests(body: Mapping[str, Any], model: Model, tokens: ControlTokens) -> list[dict[str, Any]]:
    """Return a text completion's request for each prompt; raise `EngineRefused` as `llamacpp_request`."""
    request = _generation(body, model, _WITHOUT_EFFECT | {PROMPT_FIELD})
    alternatives = request.pop("top_logprobs", 0)
    if request.pop("logprobs", False):
        request["logprobs"] = max(alternatives, 1)
    return [{**request, PROMPT_FIELD: tokens.broken(prompt)} for prompt in prompts_of(body)]


def _generation(body: Mapping[str, Any], model: Model, others: frozenset[str]) -> dict[str, Any]:
    """Return the fields that steer the generation and its reports, for a conversation and for a prompt."""
    fields = sampling_fields(body, model, others)
    fields.pop("stop", None)
    request = {_RENAMED.get(name, name): value for name, value in fields.items()}
    if "seed" in request:
        request["seed"] = folded(request["seed"], SEEDS)
    return {
        **request,
        "max_tokens": output_tokens_max(body, model),
        "stream": True,
        "stream_options": {"include_usage": True},
        # These two make the engine report its counts during generation; an aborted request is billed by them.
        "timings_per_token": True,
        "return_progress": True,
        # A cached prefix shortens the answer time, which would reveal another tenant's prompt.
        "cache_prompt": False,
    }


def _grammar(
    response_format: Mapping[str, Any] | None, body: Mapping[str, Any], functions: Sequence[Mapping[str, Any]]
) -> str | None:
    answer = None if response_format is None else answer_rule(response_format)
    if functions:
        return calls_grammar(body, functions, FREE_ANSWER if answer is None else answer)
    return None if answer is None else HEAD + "start: answer\n" + answer


def refusal(request: Mapping[str, Any]) -> EngineRefused:
    """Return the error for a request that the engine refused; its own text describes its internals."""
    if OPENING in request.get("grammar", ""):
        return EngineRefused("The model's engine cannot use these tools.", param="tools")
    if "grammar" in request:
        return EngineRefused("The model's engine cannot use this response_format.", param="response_format")
    return EngineRefused("The model's engine cannot serve this request.")
