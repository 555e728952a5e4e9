"""OpenAI's chat request, with vLLM's extras, in llama.cpp's words."""

from collections.abc import Mapping
from typing import Any

from finpool.catalogue.model.schemas import Model
from finpool.serving.engine.chat_body import messages, output_tokens_max, sampling_fields
from finpool.serving.errors import EngineRefused
from finpool.serving.schemas import UNCOUNTED_FIELD

_RENAMED = {"repetition_penalty": "repeat_penalty"}

_WITHOUT_EFFECT = frozenset({"user", "metadata", "store", "service_tier", "priority", "cache_salt", UNCOUNTED_FIELD})
"""Fields about who asks or about scheduling and caches; llama.cpp schedules in order and shares no cache here."""


def llamacpp_request(body: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Return the request for llama.cpp; raise `EngineRefused` for what this engine cannot do.

    Fields that are not listed here never reach the engine, because some of llama.cpp's own (`cache_prompt`,
    `id_slot`, `grammar`) would undo what separates tenants.
    """
    fields = sampling_fields(body, model, _WITHOUT_EFFECT)
    request = {_RENAMED.get(name, name): value for name, value in fields.items()}
    request["messages"] = messages(body)
    request["max_tokens"] = output_tokens_max(body, model)
    request["stream"] = True
    request["stream_options"] = {"include_usage": True}
    # These two make the engine report its counts while it works, which is what an aborted request is billed by.
    request["timings_per_token"] = True
    request["return_progress"] = True
    # A prompt that finds its beginning in a cache is answered sooner, which tells a tenant what others asked.
    request["cache_prompt"] = False
    return request


def refusal(request: Mapping[str, Any]) -> EngineRefused:
    """Return the error for a request that an engine turned down; its own words are about its insides."""
    if (request.get("response_format") or {}).get("type", "text") != "text":
        return EngineRefused("The model's engine cannot use this response_format.", param="response_format")
    if request.get("tools"):
        return EngineRefused("The model's engine cannot use these tools.", param="tools")
    return EngineRefused("The model's engine cannot serve this request.")
