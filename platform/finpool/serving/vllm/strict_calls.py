"""The check of strict calls that a model chose to make: on vLLM no grammar holds them."""

import json
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import jsonschema
import orjson

from finpool.serving.errors import EngineRefused


class StrictCalls:
    """The calls of one answer, each checked when its choice ends."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Take OpenAI's request; without a choice of the model there is nothing to check."""
        chosen = body.get("tool_choice") in (None, "auto")
        functions = [tool["function"] for tool in (body.get("tools") or [] if chosen else [])]
        self._schemas = {each["name"]: each.get("parameters") or {} for each in functions if each.get("strict")}
        self._calls: defaultdict[tuple[int, int], dict[str, str]] = defaultdict(lambda: {"name": "", "arguments": ""})

    def read(self, choice: Mapping[str, Any]) -> None:
        """Read a part of a choice; raise `EngineRefused` if it ends a choice with a call that breaks its schema."""
        if not self._schemas:
            return
        for part in choice["delta"].get("tool_calls") or ():
            call = self._calls[choice["index"], part["index"]]
            for name in call:
                call[name] += (part.get("function") or {}).get(name) or ""
        if choice["finish_reason"] not in (None, "length"):
            for (index, _), call in self._calls.items():
                if index == choice["index"] and not self._holds(**call):
                    raise EngineRefused(
                        f"The model called '{call['name']}' with arguments that break its schema: send tool_choice"
                        " 'required' or name the function, or leave out strict.",
                        param="tools",
                    )

    def _holds(self, name: str, arguments: str) -> bool:
        if (schema := self._schemas.get(name)) is None:
            return True
        try:
            jsonschema.Draft202012Validator(_exact(orjson.dumps(schema))).validate(_exact(arguments))
        except (ValueError, jsonschema.ValidationError):
            return False
        return True


def _exact(text: str | bytes) -> Any:
    """Return a JSON value whose fractions are exact: 0.3 is a multiple of 0.1, and not so as a float."""
    return json.loads(text, parse_float=Decimal)
