"""The order of a conversation: each tool call has one result, and each result its call."""

from collections.abc import Sequence

from finpool.gateway.request.messages import AssistantMessage, Message, ToolMessage
from finpool.gateway.request.options import fault

IDS_SHOWN_MAX = 8


def require_ordered(messages: Sequence[Message]) -> None:
    """Raise the fault of the first message that breaks the order, as OpenAI does.

    Results follow directly after the message with their calls. A conversation that ends with calls lacks their results.
    """
    calls_at, open_calls = -1, list[str]()
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            _close(message, index, calls_at, open_calls)
            continue
        if open_calls:
            break
        calls_at = -1
        if isinstance(message, AssistantMessage):
            if message.tool_calls:
                calls_at, open_calls = index, [call.id for call in message.tool_calls]
            if message.refusal or not (message.content or message.tool_calls):
                _require_content(message, index)
    if open_calls:
        missing = ", ".join(open_calls[:IDS_SHOWN_MAX])
        raise fault(f"a message of role 'tool' must follow for each call; missing: {missing}", calls_at, "tool_calls")


def _close(message: ToolMessage, index: int, calls_at: int, open_calls: list[str]) -> None:
    if calls_at < 0:
        raise fault(
            "a message of role 'tool' must follow an assistant's message with tool_calls, or another tool's message",
            index,
            "role",
        )
    if message.tool_call_id not in open_calls:
        raise fault(
            f"messages[{calls_at}] has no open tool call with the id '{message.tool_call_id}'", index, "tool_call_id"
        )
    open_calls.remove(message.tool_call_id)


def _require_content(message: AssistantMessage, index: int) -> None:
    """Raise a fault for an empty message, or one with two texts; an answer may be reasoning alone."""
    if message.refusal and message.content:
        raise fault("give content or refusal, not both", index, "refusal")
    reasoned = message.model_fields_set & {"reasoning", "reasoning_content"}
    if message.content in (None, []) and message.refusal is None and not reasoned:
        raise fault("an assistant's message needs content or tool_calls", index, "content")
