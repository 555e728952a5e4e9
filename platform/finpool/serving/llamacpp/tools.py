"""Tools on llama.cpp: the model is told of them in the system message, and a grammar makes each call readable.

The platform has one form of calls for all weights. llama.cpp's own forms depend on the chat template. Most templates of
small models know no tools, and then it leaves them out in silence.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from finpool.serving.engine.patterns import with_ecma_patterns
from finpool.serving.errors import EngineRefused
from finpool.serving.llamacpp.closing import closed
from finpool.serving.llamacpp.guidance import HEAD, SPACING, unreadable

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
CALL_HEAD = OPENING + '\n{"name": "%s", "arguments": '
CALL_TAIL = "}\n" + CLOSING

CALLS_MAX = 8
"""Calls in one answer. A small model repeats itself, and would call until its tokens are used up."""

_LENIENT = {**SPACING, "lenient": True}
"""A tool that is not strict promises nothing, so what llguidance cannot enforce is left out."""

_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
"""OpenAI's meaning of a function without `parameters`."""

_TOLD = (
    "You can call these functions. Each has a name, and the JSON schema of its parameters:\n"
    "<tools>\n{tools}\n</tools>\n"
    "To call one, answer only with its name and its arguments:\n"
    + OPENING
    + '\n{{"name": "the name", "arguments": {{}}}}\n'
    + CLOSING
)


def offered(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the functions that the model may call."""
    choice = body.get("tool_choice") or "auto"
    if choice == "none":
        return []
    functions = [tool["function"] for tool in body.get("tools") or []]
    if isinstance(choice, str):
        return functions
    return [function for function in functions if function["name"] == choice["function"]["name"]]


def in_plain_words(messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the conversation with tools, calls and results as texts, which every chat template takes."""
    told: list[Any] = []
    for message in messages:
        text = message["content"]
        if message["role"] == "tool":
            result = f"<tool_response>\n{text}\n</tool_response>"
            if told and told[-1].get("results"):
                told[-1]["content"] += f"\n{result}"
            else:
                told.append({"role": "user", "content": result, "results": True})
            continue
        calls = [_call(call["function"]) for call in message.get("tool_calls") or []]
        told.append({"role": message["role"], "content": "\n".join([text, *calls] if text else calls)})
    if functions:
        described = "\n".join(orjson.dumps(_description(each)).decode() for each in functions)
        system = _TOLD.format(tools=described)
        if told[0]["role"] == "system":
            told[0]["content"] += f"\n\n{system}"
        else:
            told.insert(0, {"role": "system", "content": system})
    return [{"role": each["role"], "content": each["content"]} for each in told]


def calls_grammar(body: Mapping[str, Any], functions: Sequence[Mapping[str, Any]], answer: str) -> str:
    """Return the grammar of an answer that may call `functions`; `answer` is the rule of one that calls none.

    Raises `EngineRefused` for a strict function whose parameters cannot be enforced.
    """
    more = f'("\\n" call){{0,{CALLS_MAX - 1}}}' if body.get("parallel_tool_calls") else ""
    must = (body.get("tool_choice") or "auto") != "auto"
    lines = [f"start: {'' if must else 'answer | '}call {more}", f"call: {' | '.join(_names(functions))}"]
    for index, function in enumerate(functions):
        schema = orjson.dumps(_parameters(function)).decode()
        head = orjson.dumps(CALL_HEAD % function["name"]).decode()
        lines.append(f"call_{index}: {head} arguments_{index} {orjson.dumps(CALL_TAIL).decode()}")
        lines.append(f"arguments_{index}: %json {schema}")
    if not must:
        lines.append(answer)
    grammar = HEAD + "\n".join(lines) + "\n"
    if (reason := unreadable(grammar)) is not None:
        raise EngineRefused(f"The model's engine cannot use these tools: {reason}.", param="tools")
    return grammar


FREE_ANSWER = f"answer: TEXT\nTEXT: /(?s:.*)/ & ~/(?s:{OPENING}.*)/"
"""The rule of free text: it does not begin as a call does."""


def _names(functions: Sequence[Any]) -> Iterator[str]:
    return (f"call_{index}" for index in range(len(functions)))


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or _NO_PARAMETERS
    if function.get("strict"):
        return {**with_ecma_patterns(schema), "x-guidance": SPACING}
    for loose in (closed(schema), schema):
        guided = {**loose, "x-guidance": _LENIENT}
        if unreadable(f"{HEAD}start: %json {orjson.dumps(guided).decode()}") is None:
            return guided
    return {"type": "object", "x-guidance": SPACING}


def _description(function: Mapping[str, Any]) -> dict[str, Any]:
    return {name: function[name] for name in ("name", "description", "parameters") if function.get(name)}


def _call(function: Mapping[str, Any]) -> str:
    return f"{CALL_HEAD % function['name']}{function['arguments'] or '{}'}{CALL_TAIL}"
