"""The meaning of a last message of the assistant: every engine continues it, or the request is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

CONTINUE_FIELD = "continue_final_message"


def continuation(messages: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return the fields that let an engine continue a last message of the assistant; for another one there are none.

    The engines' own defaults differ: llama.cpp continues the message, and vLLM begins a new one.
    """
    if messages[-1]["role"] != "assistant":
        return {}
    return {CONTINUE_FIELD: True, "add_generation_prompt": False}
