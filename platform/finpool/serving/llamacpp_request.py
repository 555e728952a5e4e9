"""OpenAI's chat request, with vLLM's extras, in llama.cpp's words."""

from collections.abc import Mapping
from typing import Any

from finpool.catalogue.schemas import Model
from finpool.serving.errors import EngineRefused

_SAME_NAME = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "seed",
        "stop",
        "n",
        "ignore_eos",
        "response_format",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
    }
)
_RENAMED = {"repetition_penalty": "repeat_penalty"}
_HANDLED = frozenset({"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"})

_WITHOUT_EFFECT = frozenset({"user", "metadata", "store", "service_tier", "priority", "cache_salt"})
"""Fields about who asks or about scheduling and caches; llama.cpp schedules in order and shares no cache here."""

_MESSAGE_FIELDS = frozenset({"name", "tool_calls", "tool_call_id"})
_ROLES = {"developer": "system"}


def llamacpp_request(body: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Return the request for llama.cpp; raise `EngineRefused` for what this engine cannot do.

    Fields that are not listed here never reach the engine, because some of llama.cpp's own (`cache_prompt`,
    `id_slot`, `grammar`) would undo what separates tenants.
    """
    request: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in _WITHOUT_EFFECT or name in _HANDLED:
            continue
        if name in _SAME_NAME:
            request[name] = value
        elif name in _RENAMED:
            request[_RENAMED[name]] = value
        else:
            raise EngineRefused(f"The model's engine does not know the field '{name}'.", param=name)
    if request.get("n", 1) > model.engine.slots:
        raise EngineRefused(f"The model gives at most {model.engine.slots} choices for a request.", param="n")
    request["messages"] = [_message(message) for message in body["messages"]]
    request["max_tokens"] = _output_tokens_max(body, model)
    request["stream"] = True
    request["stream_options"] = {"include_usage": True}
    # These two make the engine report its counts while it works, which is what an aborted request is billed by.
    request["timings_per_token"] = True
    request["return_progress"] = True
    # A prompt that finds its beginning in a cache is answered sooner, which tells a tenant what others asked.
    request["cache_prompt"] = False
    return request


def refusal(request: Mapping[str, Any]) -> EngineRefused:
    """Return the error for a request that llama.cpp turned down; its own words are about its insides."""
    if (request.get("response_format") or {}).get("type", "text") != "text":
        return EngineRefused("The model's engine cannot use this response_format.", param="response_format")
    if request.get("tools"):
        return EngineRefused("The model's engine cannot use these tools.", param="tools")
    return EngineRefused("The model's engine cannot serve this request.")


def _output_tokens_max(body: Mapping[str, Any], model: Model) -> int:
    given = (body.get("max_completion_tokens"), body.get("max_tokens"), model.output_tokens_default)
    requested = next(tokens for tokens in given if tokens is not None)
    if not 1 <= requested <= model.output_tokens_max:
        raise EngineRefused(
            f"max_completion_tokens must be between 1 and {model.output_tokens_max}.", param="max_completion_tokens"
        )
    return int(requested)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = message["role"]
    kept = {name: message[name] for name in _MESSAGE_FIELDS if message.get(name) is not None}
    return {"role": _ROLES.get(role, role), "content": _text(message.get("content")), **kept}


def _text(content: str | list[Mapping[str, Any]] | None) -> str:
    """Flatten content parts: chat templates of text models take one string."""
    if content is None or isinstance(content, str):
        return content or ""
    if any(part.get("type") != "text" for part in content):
        raise EngineRefused("The model takes content parts of type 'text' only.", param="messages")
    return "\n".join(part["text"] for part in content)
