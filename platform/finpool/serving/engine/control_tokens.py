"""The control tokens of a model, kept out of a request's texts: no content can speak as another role (ADR 0029).

Both template libraries join control tokens and content to one text, in which the tokenizer reads control tokens
wherever they stand. So a request's texts get an invisible character within each such token before they are joined.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from finpool.serving.errors import EngineRefused

BREAK = "\u2060"
"""Unicode's word joiner: it has no width, allows no line break, and no template trims it."""

_PROSE = frozenset({"description", "title", "$comment"})
"""Keywords of a schema whose texts only explain; changing another text would change the answer."""


class ControlTokens:
    """The texts that a tokenizer reads as one token each.

    `structure` are tokens that only the template gives a meaning, such as `<tool_call>`. The model writes them itself,
    so they stay in the assistant's messages.
    """

    def __init__(self, control: Iterable[str], structure: Iterable[str] = ()) -> None:
        self._everywhere = _Texts(control)
        self._for_others = _Texts([*self._everywhere.texts, *structure])

    def broken(self, text: str, role: str = "") -> str:
        """Return the text with a break after the first character of each control token."""
        return (self._everywhere if role == "assistant" else self._for_others).broken(text)

    def spelled_out(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return an engine's request whose texts hold no control token.

        Raises `EngineRefused` for one in the name of a tool or in its schema, because its answers would change.
        """
        spelled = {**request, "messages": [self._message(message) for message in request["messages"]]}
        if "tools" in request:
            self._refuse_in(request.get("response_format"), "response_format")
            spelled["tools"] = [self._tool(tool) for tool in request["tools"]]
        return spelled

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        role = message["role"]
        spelled = {
            name: self.broken(value, role) if isinstance(value, str) and name != "role" else value
            for name, value in message.items()
        }
        if calls := message.get("tool_calls"):
            spelled["tool_calls"] = [self._call(call) for call in calls]
        return spelled

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = {
            name: self._arguments(value) if name == "arguments" else self._value(value)
            for name, value in call["function"].items()
        }
        return {**{name: self._value(value) for name, value in call.items()}, "function": function}

    def _arguments(self, text: str) -> str:
        """Return the arguments of a call; templates read them as JSON, in which an escape may hide a token."""
        if "\\" in text:
            try:
                value = json.loads(text)
            except ValueError:
                return self.broken(text)
            if any(self.broken(each) != each for each in _texts(value)):
                return json.dumps(self._value(value), ensure_ascii=False)
        return self.broken(text)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.broken(value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return {self.broken(name): self._value(each) for name, each in value.items()}
        return value

    def _tool(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        spelled: dict[str, Any] = self._explained(tool)
        self._refuse_in(spelled, "tools")
        return spelled

    def _explained(self, value: Any) -> Any:
        """Return a tool or a part of it with breaks in the texts that only explain."""
        if isinstance(value, list):
            return [self._explained(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            name: self.broken(each) if name in _PROSE and isinstance(each, str) else self._explained(each)
            for name, each in value.items()
        }

    def _refuse_in(self, value: Any, param: str) -> None:
        if any(self.broken(each) != each for each in _texts(value)):
            raise EngineRefused("A name or a schema holds the text of a control token of the model.", param=param)


class _Texts:
    """Texts to find in another one, fast also where a model has thousands of them."""

    def __init__(self, texts: Iterable[str]) -> None:
        # A token of one character cannot be broken; no known tokenizer has such a control token.
        self.texts = frozenset(text for text in texts if len(text) > 1)
        self._lengths = sorted({len(text) for text in self.texts})
        firsts = "".join(sorted({text[0] for text in self.texts}))
        self._first = re.compile(f"[{re.escape(firsts)}]") if firsts else None

    def broken(self, text: str) -> str:
        if self._first is None:
            return text
        starts = [found.start() for found in self._first.finditer(text) if self._begins(text, found.start())]
        for start in reversed(starts):
            text = f"{text[: start + 1]}{BREAK}{text[start + 1 :]}"
        return text

    def _begins(self, text: str, start: int) -> bool:
        return any(text[start : start + length] in self.texts for length in self._lengths)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, names of properties included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
