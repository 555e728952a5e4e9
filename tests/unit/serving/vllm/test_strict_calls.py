"""Strict calls that a model on vLLM chose to make are checked before their choice ends."""

from typing import Any

import pytest

from finpool.serving.errors import EngineRefused
from finpool.serving.vllm.strict_calls import StrictCalls

PARAMETERS = {
    "type": "object",
    "properties": {"rate": {"type": "number", "multipleOf": 0.1, "maximum": 1}},
    "required": ["rate"],
    "additionalProperties": False,
}


def tools(*, strict: bool | None = True) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "set_rate", "parameters": PARAMETERS, "strict": strict}}]


def part(function: dict[str, str] | None = None, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    delta = {} if function is None else {"tool_calls": [{"index": 0, "function": function}]}
    return {"index": index, "delta": delta, "finish_reason": finish}


def read(calls: StrictCalls, arguments: str, finish: str = "tool_calls", name: str = "set_rate") -> None:
    half = len(arguments) // 2
    calls.read(part({"name": name, "arguments": arguments[:half]}))
    calls.read(part({"arguments": arguments[half:]}))
    calls.read(part(finish=finish))


def test_a_call_that_holds_its_schema_passes_with_exact_fractions() -> None:
    read(StrictCalls({"tools": tools()}), '{"rate": 0.3}')


@pytest.mark.parametrize("arguments", ['{"rate": 0.35}', '{"rate": 2}', "{}", '{"rate": 0.1, "x": 1}', '{"rate": ', ""])
def test_a_call_that_breaks_its_schema_ends_with_an_error(arguments: str) -> None:
    with pytest.raises(EngineRefused, match="set_rate"):
        read(StrictCalls({"tools": tools(), "tool_choice": "auto"}), arguments)


def test_only_strict_and_chosen_calls_are_checked() -> None:
    for body in ({"tools": tools(strict=False)}, {"tools": tools(), "tool_choice": "required"}, {}):
        read(StrictCalls(body), '{"rate": 2}')
    read(StrictCalls({"tools": tools()}), '{"rate": ', finish="length")
    read(StrictCalls({"tools": tools()}), "{}", name="another")


def test_each_choice_is_checked_by_itself() -> None:
    calls = StrictCalls({"tools": tools()})
    calls.read(part({"name": "set_rate", "arguments": "{}"}, index=1))
    read(calls, '{"rate": 1}')
    with pytest.raises(EngineRefused):
        calls.read(part(finish="tool_calls", index=1))
