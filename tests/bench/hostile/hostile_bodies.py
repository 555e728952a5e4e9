"""The bodies of hostile requests to a chat."""

import itertools
import json
from typing import Any

MODEL = "smollm2-135m-instruct"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def chat(**fields: Any) -> bytes:
    """Return a chat with other fields, written without spaces."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, **fields}
    return json.dumps(body, separators=(",", ":")).encode()


def many_patterns(tools: int, properties: int, classes: int) -> bytes:
    """Return a chat with tools whose properties have patterns of classes, each class another one."""
    ranges = itertools.cycle(
        f"[{first}-{last}{other}]"
        for first, last, other in itertools.product(_LETTERS, _LETTERS, _LETTERS)
        if first < last
    )

    def pattern() -> str:
        return "".join(itertools.islice(ranges, classes))

    return chat(
        tools=[
            _tool(number, {f"p{each}": {"type": "string", "pattern": pattern()} for each in range(properties)})
            for number in range(tools)
        ]
    )


def many_references(tools: int, properties: int) -> bytes:
    """Return a chat with tools whose properties each refer to the whole schema."""
    branch = {"anyOf": [{"type": "null"}, {"$ref": "#"}]}
    return chat(tools=[_tool(number, {f"p{each}": branch for each in range(properties)}) for number in range(tools)])


def strict_tools(count: int) -> bytes:
    """Return a chat with strict tools, each as large as one may be."""
    properties = {f"p{each}": {"type": "string", "description": "x" * 120} for each in range(90)}
    return chat(tools=[_tool(number, properties, strict=True) for number in range(count)])


def _tool(number: int, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "function", "function": {"name": f"f{number}", "parameters": parameters, **more}}


def parts(count: int) -> bytes:
    """Return a chat with one message of so many parts."""
    return chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}] * count}])


def nested(levels: int) -> bytes:
    """Return a chat with an object of so many levels."""
    return b'{"model":"m","user":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


def unknown_fields(count: int) -> bytes:
    """Return a chat with so many fields that nobody knows."""
    return chat(**{f"f{each}": 0 for each in range(count)})


def repeated(count: int) -> bytes:
    """Return a chat that gives one field so many times."""
    return chat()[:-1] + b',"n":1' * count + b"}"


def numbers_of_digits(field: str, start: str) -> bytes:
    """Return a chat with a number of 900,000 digits."""
    return chat()[:-1] + f',"{field}":{start}{"1" * 900_000}}}'.encode()


def tool_calls(messages: int, calls: int, arguments: str) -> bytes:
    """Return a chat of messages with calls that have no results."""
    called = [
        {"id": f"c{each}", "type": "function", "function": {"name": "f", "arguments": arguments}}
        for each in range(calls)
    ]
    return chat(messages=[{"role": "assistant", "tool_calls": called}] * messages)
