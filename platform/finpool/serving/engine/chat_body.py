"""The engines' common reading of OpenAI's chat request."""

from collections.abc import Mapping
from typing import Any

from finpool.catalogue.model.schemas import Model
from finpool.serving.errors import EngineRefused

SAMPLING_FIELDS = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
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
"""Fields that steer generation. Each engine handles its other fields itself and refuses the rest."""

HANDLED_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"})

_MESSAGE_FIELDS = frozenset({"name", "tool_calls", "tool_call_id"})
_ROLES = {"developer": "system"}


def sampling_fields(body: Mapping[str, Any], model: Model, others: frozenset[str]) -> dict[str, Any]:
    """Return the fields of `body` that steer generation, without nulls; raise `EngineRefused` for an unknown field.

    `others` are the fields that the engine handles itself or drops on purpose.
    """
    fields: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in others or name in HANDLED_FIELDS:
            continue
        if name not in SAMPLING_FIELDS:
            raise EngineRefused(f"The model's engine does not know the field '{name}'.", param=name)
        fields[name] = value
    if fields.get("n", 1) > model.engine.slots:
        raise EngineRefused(f"The model gives at most {model.engine.slots} choices for a request.", param="n")
    return fields


def output_tokens_max(body: Mapping[str, Any], model: Model) -> int:
    """Return the requested output tokens, or the model's default; raise `EngineRefused` above the model's limit."""
    given = (body.get("max_completion_tokens"), body.get("max_tokens"), model.output_tokens_default)
    requested = next(tokens for tokens in given if tokens is not None)
    if not 1 <= requested <= model.output_tokens_max:
        raise EngineRefused(
            f"max_completion_tokens must be between 1 and {model.output_tokens_max}.", param="max_completion_tokens"
        )
    return int(requested)


def messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages for a chat template: known roles, and one string as each content.

    A last message of the assistant without text is left out, because there is nothing to continue.
    """
    found = [_message(message) for message in body["messages"]]
    last = found[-1]
    if last["role"] == "assistant" and last.get("tool_calls"):
        raise EngineRefused("The last message calls tools: add a message with each result.", param="messages")
    return found[:-1] if last["role"] == "assistant" and not last["content"] and len(found) > 1 else found


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = message["role"]
    kept = {name: message[name] for name in _MESSAGE_FIELDS if message.get(name) is not None}
    return {"role": _ROLES.get(role, role), "content": _text(message.get("content")), **kept}


def _text(content: str | list[Mapping[str, Any]] | None) -> str:
    """Return content parts as one string, because chat templates of text models take no parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if any(part.get("type") != "text" for part in content):
        raise EngineRefused("The model takes content parts of type 'text' only.", param="messages")
    return "\n".join(part["text"] for part in content)
