"""Fields that an engine does not serve together are refused by the gateway, with the reason."""

from typing import Any

import pytest
from chat_requests import TOOL, parsed
from model_declarations import CPU_ENGINE, vllm_declaration

from finpool.catalogue.model.schemas import Model
from finpool.gateway.errors import UnsupportedParameter
from finpool.gateway.request.capabilities import require_chat

ABLE = ["tools", "json_schema", "logprobs"]
VLLM = Model.model_validate(vllm_declaration(engine=CPU_ENGINE, capabilities=ABLE))
LLAMA_CPP = Model.model_validate(
    vllm_declaration(
        engine={"name": "llamacpp", "slots": 1, "threads": 1},
        weights={"source": "path", "path": "/weights/a.gguf", "sha256": "a" * 64},
        capabilities=ABLE,
    )
)
JSON = {"response_format": {"type": "json_object"}}
LOGPROBS = {"logprobs": True}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (JSON, "response_format"),
        ({**JSON, "tool_choice": "auto"}, "response_format"),
        (LOGPROBS, "logprobs"),
        ({**LOGPROBS, "tool_choice": "required", "stream": True}, "logprobs"),
    ],
)
def test_vllm_serves_some_fields_only_without_tools(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter, match="tools") as refused:
        require_chat(VLLM, parsed(tools=[TOOL], **fields))
    assert refused.value.param == param
    require_chat(LLAMA_CPP, parsed(tools=[TOOL], **fields))
    fields = {name: value for name, value in fields.items() if name != "tool_choice"}
    require_chat(VLLM, parsed(**fields))
    require_chat(VLLM, parsed(tools=[TOOL], tool_choice="none", **fields))


def test_a_call_that_is_required_needs_no_answer_format() -> None:
    require_chat(VLLM, parsed(tools=[TOOL], tool_choice="required", **JSON))
