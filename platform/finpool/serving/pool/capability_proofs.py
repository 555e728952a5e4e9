"""The proof of each declared capability: a request that needs it, and the check of its answer."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from finpool.catalogue.model.schemas import Model, TokenUsage

TOKENS_MAX = 256
"""Output tokens of a proof: enough for a call and for a small object from a model that writes white space."""

LOGPROBS_TOKENS = 8

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["bank", "insurer"]}, "founded": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["kind", "founded"],
    "additionalProperties": False,
}
_FUNCTION = {"name": "record_institution", "description": "Records an institution.", "parameters": _SCHEMA}
_ASKED = [{"role": "user", "content": "Record a bank that was founded in year 7."}]


@dataclass
class Proven:
    """The answer to a proof: its text, its log probabilities, its calls in OpenAI's shape, and its vectors."""

    usage: TokenUsage
    text: str = ""
    entries: list[Any] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    vectors: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, choices: Sequence[Sequence[Mapping[str, Any]]], usage: TokenUsage) -> "Proven":
        """Return the answer in these chunks."""
        proven = cls(usage)
        for choice in [choice for each in choices for choice in each]:
            delta = choice.get("delta") or {}
            proven.text += delta.get("content") or ""
            proven.entries += (choice.get("logprobs") or {}).get("content") or []
            for part in delta.get("tool_calls") or []:
                call = proven.calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
                call["id"] += part.get("id") or ""
                for name in ("name", "arguments"):
                    call[name] += (part.get("function") or {}).get(name) or ""
            if "embedding" in choice:
                proven.vectors.append(choice["embedding"])
        return proven


@dataclass(frozen=True, slots=True)
class Proof:
    """A request, and the check of its answer, which returns the fault or None."""

    body: dict[str, Any]
    fault: Callable[[Proven], str | None]


def chat_proofs(model: Model) -> dict[str, Proof]:
    """Return the proofs of a chat model's declared capabilities."""
    tokens = min(TOKENS_MAX, model.output_tokens_max)
    asked = {"messages": _ASKED, "max_tokens": tokens, "temperature": 0}
    few = min(LOGPROBS_TOKENS, model.output_tokens_max)
    proofs = {
        "tools": Proof(
            {**asked, "tools": [{"type": "function", "function": _FUNCTION}], "tool_choice": "required"}, _fault_of_call
        ),
        "json_schema": Proof(
            {
                **asked,
                "response_format": {"type": "json_schema", "json_schema": {"name": "institution", "schema": _SCHEMA}},
            },
            lambda proven: _fault_of_json(proven.text, "the answer"),
        ),
        "logprobs": Proof({**asked, "max_tokens": few, "logprobs": True, "top_logprobs": 2}, _fault_of_entries),
    }
    return {name: proof for name, proof in proofs.items() if name in model.capabilities}


def dimensions_proof(length: int) -> Proof:
    """Return the proof that a model can shorten vectors of `length` numbers to the next power of two below."""
    shorter = 1 << (max(length - 1, 1).bit_length() - 1)

    def fault(proven: Proven) -> str | None:
        found = [length_of(each) for each in proven.vectors]
        return None if found == [shorter] else f"vectors of {shorter} numbers were asked for, and {found} came"

    return Proof({"input": ["bank"], "dimensions": shorter}, fault)


def length_of(vector: Any) -> int:
    """Return the numbers of a vector, a list or 32-bit floats in Base64."""
    return len(base64.b64decode(vector)) // 4 if isinstance(vector, str) else len(vector)


def _fault_of_call(proven: Proven) -> str | None:
    if not proven.calls:
        return "the answer holds no call, though tool_choice was required"
    for call in proven.calls.values():
        if not call["id"] or call["name"] != _FUNCTION["name"]:
            return "a call has no id, or names a function that was not declared"
        if (fault := _fault_of_json(call["arguments"], "the arguments of a call")) is not None:
            return fault
    return None


def _fault_of_json(text: str, what: str) -> str | None:
    try:
        jsonschema.validate(json.loads(text), _SCHEMA)
    except ValueError:
        return f"{what} cannot be read as JSON"
    except jsonschema.ValidationError:
        return f"{what} breaks the schema"
    return None


def _fault_of_entries(proven: Proven) -> str | None:
    # The end of the answer is a token without text, and engines give it an entry or none.
    if len(proven.entries) not in (proven.usage.output_tokens, proven.usage.output_tokens - 1) or not proven.entries:
        return f"{proven.usage.output_tokens} tokens have {len(proven.entries)} entries of log probabilities"
    if any(len(entry.get("top_logprobs") or []) > 2 for entry in proven.entries):
        return "an entry has more alternatives than were asked for"
    return None
