"""The running usage of an answer, out of what llama.cpp really sends."""

from typing import Any

import pytest

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.llamacpp.answer import LlamaCppAnswer

REFUSAL = EngineRefused("The model's engine cannot use this response_format.", param="response_format")


def progress(index: int, processed: int) -> dict[str, Any]:
    return {
        **choice(index, {"role": "assistant", "content": None}, predicted=0),
        "prompt_progress": {"total": 32, "cache": 0, "processed": processed, "time_ms": 0},
    }


def choice(
    index: int, delta: dict[str, Any], predicted: int | None = None, finish: str | None = None
) -> dict[str, Any]:
    chunk: dict[str, Any] = {
        "id": "engine's own",
        "created": predicted,
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }
    if predicted is not None:
        chunk["timings"] = {"cache_n": 0, "prompt_n": 32, "predicted_n": predicted}
    return chunk


def exact(predicted: int) -> dict[str, Any]:
    return {
        "choices": [],
        "usage": {
            "prompt_tokens": 32,
            "completion_tokens": predicted,
            "total_tokens": 32 + predicted,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_the_role_comes_first_and_once_with_the_prompt_counted() -> None:
    answer = LlamaCppAnswer("small", "chatcmpl_1", REFUSAL)
    first = answer.accept(progress(0, 0))
    assert first is not None
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["usage"]["prompt_tokens"] == 32
    assert first["usage"]["completion_tokens"] == 0
    assert answer.accept(progress(0, 32)) is None
    assert answer.accept(choice(0, {"role": "assistant", "content": None})) is None


def test_id_time_and_model_are_the_same_in_every_chunk() -> None:
    answer = LlamaCppAnswer("small", "chatcmpl_1", REFUSAL)
    chunks = [answer.accept(choice(0, {"content": str(number)}, predicted=number)) for number in range(1, 4)]
    chunks.append(answer.conclusion())
    heads = {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks if chunk is not None}
    assert len(chunks) == 4
    assert len(heads) == 1
    assert next(iter(heads))[0] == "chatcmpl_1"


def test_choices_add_up_and_share_their_prompt() -> None:
    answer = LlamaCppAnswer("small", "chatcmpl_1", REFUSAL)
    for chunk in (
        progress(0, 0),
        choice(1, {"content": "a"}, predicted=1),
        choice(0, {"content": "a"}, predicted=1),
        choice(1, {"content": "b"}, predicted=2),
        choice(1, {}, finish="stop"),
        exact(3),
        choice(0, {"content": "b"}, predicted=2),
    ):
        answer.accept(chunk)
    assert answer.usage == TokenUsage(input_tokens=32, cached_input_tokens=0, output_tokens=5)
    answer.accept(choice(0, {}, finish="length"))
    answer.accept(exact(4))
    assert answer.conclusion()["choices"] == []
    assert answer.conclusion()["usage"]["completion_tokens"] == 7


def test_a_prompt_beyond_the_context_is_refused_with_openais_code() -> None:
    error = {"code": 400, "type": "exceed_context_size_error", "message": "?", "n_prompt_tokens": 90, "n_ctx": 64}
    with pytest.raises(EngineRefused, match="64 tokens") as refused:
        LlamaCppAnswer("small", "chatcmpl_1", REFUSAL).accept({"error": error})
    assert refused.value.body()["error"]["code"] == "context_length_exceeded"


def test_an_engines_fault_is_told_without_its_words() -> None:
    error = {"code": 500, "type": "server_error", "message": "the prompt was: secret"}
    with pytest.raises(EngineFailed) as failed:
        LlamaCppAnswer("small", "chatcmpl_1", REFUSAL).accept({"error": error})
    assert "secret" not in failed.value.message


def test_what_an_engine_turns_down_is_told_without_its_words() -> None:
    error = {"code": 400, "type": "invalid_request_error", "message": "Failed to initialize samplers: secret"}
    with pytest.raises(EngineRefused) as refused:
        LlamaCppAnswer("small", "chatcmpl_1", REFUSAL).accept({"error": error})
    assert "samplers" not in refused.value.message
    assert refused.value.param == "response_format"
