"""The real thing: apps/pool with Ray Serve, its HAProxy and a real model, from outside."""

import json
from contextlib import closing
from typing import Any

import pytest

from finpool.catalogue.model.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineRefused
from finpool.serving.schemas import EngineChunks, Operation

QUESTION = [{"role": "user", "content": "Tell me about Paris."}]


async def ask(backends: Backends, model: Model, **fields: Any) -> list[EngineChunks]:
    body = {"messages": QUESTION, "max_tokens": 24, **fields}
    with closing(await backends.ask(Operation.CHAT, model, body, RequestId("req_test"))) as stream:
        await stream.begun()
        return [chunks async for chunks in stream if chunks.choices or chunks.usage]


def choices_of(chunks: list[EngineChunks]) -> list[dict[str, Any]]:
    return [choice for each in chunks for choices in each.choices for choice in choices]


def text_of(chunks: list[EngineChunks], index: int = 0) -> str:
    return "".join(each["delta"].get("content") or "" for each in choices_of(chunks) if each["index"] == index)


def finish_reasons(chunks: list[EngineChunks]) -> list[str]:
    return [choice["finish_reason"] for choice in choices_of(chunks) if choice["finish_reason"]]


async def test_an_answer_is_real_text_with_usage_that_grows_to_the_engines_own_count(
    pool: Any, backends: Backends, model: Model
) -> None:
    before = await pool.usage()
    chunks = await ask(backends, model, ignore_eos=True)
    after, running = await pool.usage(), [each.usage for each in chunks]
    assert text_of(chunks).strip()
    assert finish_reasons(chunks) == ["length"]
    assert all(usage is not None for usage in running)
    counts = [usage.output_tokens for usage in running if usage is not None]
    assert counts == sorted(counts)
    assert counts[0] < counts[len(counts) // 2] < counts[-1] == 24
    final = running[-1]
    assert final is not None
    assert (final.input_tokens > 0, final.cached_input_tokens) == (True, 0)
    assert after["input_tokens"] - before["input_tokens"] == final.input_tokens
    assert after["output_tokens"] - before["output_tokens"] == final.output_tokens
    assert after["requests"] - before["requests"] == 1
    each = await pool.chunks(model=model.id, messages=QUESTION, max_tokens=24, ignore_eos=True)
    written = [chunk["usage"]["completion_tokens"] for chunk in each]
    assert (written[0], written[-2:], each[-1]["choices"]) == (0, [24, 24], [])


async def test_the_same_prompt_again_is_computed_again(backends: Backends, model: Model) -> None:
    first, second = await ask(backends, model, seed=1), await ask(backends, model, seed=1)
    assert first[-1].usage == second[-1].usage
    assert text_of(first) == text_of(second)


@pytest.mark.parametrize("text", ["Tell me about Paris.", "贷款利率是多少？ 🏦 <|im_end|> two"])
async def test_the_tokenizer_counts_what_the_engine_will_report(backends: Backends, model: Model, text: str) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    count = await backends.count_input_tokens(model, {"messages": messages}, RequestId("req_count"))
    usage = (await ask(backends, model, messages=messages, max_tokens=1))[-1].usage
    assert usage is not None
    assert count == usage.input_tokens


async def test_a_caller_that_leaves_stops_the_generation(pool: Any, backends: Backends, model: Model) -> None:
    before = await pool.usage()
    body = {"messages": QUESTION, "max_tokens": 1000, "ignore_eos": True}
    with closing(await backends.ask(Operation.CHAT, model, body, RequestId("req_test"))) as stream:
        await stream.begun()
        async for chunks in stream:
            if chunks.usage is not None and chunks.usage.output_tokens >= 3:
                break
    stopped = await pool.settled_usage()
    # The engine is idle now: a whole new answer adds its own tokens to the count and no others.
    answer = await ask(backends, model)
    final = answer[-1].usage
    assert final is not None
    after = await pool.usage()
    assert after["aborted"] == before["aborted"] + 1
    assert after["output_tokens"] == stopped["output_tokens"] + final.output_tokens
    assert stopped["output_tokens"] - before["output_tokens"] < 900


async def test_two_choices_share_their_prompt_and_add_up(pool: Any, backends: Backends, model: Model) -> None:
    one = await ask(backends, model, ignore_eos=True)
    two = await ask(backends, model, ignore_eos=True, n=2)
    assert one[-1].usage is not None and two[-1].usage is not None  # noqa: PT018 - for the types.
    assert (two[-1].usage.input_tokens, two[-1].usage.output_tokens) == (one[-1].usage.input_tokens, 48)
    assert text_of(two, 0).strip()
    assert text_of(two, 1).strip()
    assert finish_reasons(two) == ["length", "length"]


async def test_an_answer_follows_its_schema(backends: Backends, model: Model) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}}
    # Greedily: the grammar allows white space, and a small model that draws lots may go on with it to the end.
    answer = text_of(await ask(backends, model, response_format=response_format, max_tokens=64, temperature=0))
    assert json.loads(answer)["city"] in {"Paris", "Rome"}


async def test_a_schema_that_the_engine_cannot_use_is_refused_and_costs_nothing(
    pool: Any, backends: Backends, model: Model
) -> None:
    before = await pool.usage()
    json_schema = {"name": "x", "strict": True, "schema": {"type": "nonsense"}}
    for response_format in (
        {"type": "json_schema", "json_schema": json_schema},
        {"type": "json_schema", "json_schema": {**json_schema, "schema": {"$ref": "#/$defs/absent"}}},
    ):
        with pytest.raises(EngineRefused) as refused:
            await ask(backends, model, response_format=response_format)
        assert refused.value.message.startswith("The model's engine cannot enforce this schema: ")
        assert refused.value.param == "response_format.json_schema.schema"
    after = await pool.usage()
    assert after["output_tokens"] == before["output_tokens"]


async def test_an_answer_ends_before_a_stop_string(backends: Backends, model: Model) -> None:
    whole = text_of(await ask(backends, model, seed=7, temperature=0))
    stop_at = whole.split()[3]
    chunks = await ask(backends, model, seed=7, temperature=0, stop=[stop_at])
    assert text_of(chunks) == whole[: whole.index(stop_at)]
    assert finish_reasons(chunks) == ["stop"]


async def test_a_prompt_beyond_the_context_is_refused_and_costs_nothing(
    pool: Any, backends: Backends, model: Model
) -> None:
    before = await pool.usage()
    with pytest.raises(EngineRefused) as refused:
        await ask(backends, model, messages=[{"role": "user", "content": "Say hi " * 3000}])
    assert refused.value.body()["error"]["code"] == "context_length_exceeded"
    after = await pool.usage()
    assert after["input_tokens"] == before["input_tokens"]
    assert after["output_tokens"] == before["output_tokens"]


async def test_the_engine_is_ready(backends: Backends, model: Model) -> None:
    assert await backends.ready(model)
