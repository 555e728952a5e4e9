"""The platform on vLLM: the same engine as on GPUs, on CPU cores. `make test-vllm` runs this and the main job on it."""

import asyncio
import importlib.util
import os
import random
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installation import CATALOGUE_VARIABLE
from promised_schemas import SCHEMAS, require_valid
from small_model import ADAPTERS, ADAPTERS_TENANT, MODEL
from vllm_counts import Engine
from waiting import until_now

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or CATALOGUE_VARIABLE not in os.environ,
    reason="`make test-vllm` runs these",
)

QUESTION: list[Any] = [{"role": "user", "content": "What is a bank? Answer in one sentence."}]
LONG: list[Any] = [{"role": "user", "content": "A bank takes deposits and gives loans. " * 40 + "What does it do?"}]
GENERATED_SCHEMAS = 20
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1}


@pytest.fixture(scope="module")
def engine(installation: Any) -> Engine:
    """The engine of the running installation."""
    return Engine(installation)


@pytest.fixture(scope="module")
def banks(installation: Any) -> Iterator[dict[str, openai.OpenAI]]:
    """The demo banks' clients; bank B has a contract for everything that is shared or its own, as bank A has."""
    installation.json("tenant", "change", ADAPTERS_TENANT, "--model", "*")
    env = installation.demo_env
    clients = {
        name: openai.OpenAI(base_url=env["FINPOOL_BASE_URL"], api_key=env[f"BANK_{name}_KEY"], max_retries=3)
        for name in ("A", "B")
    }
    until_now(
        lambda: len(list(clients["B"].models.list())) >= 1 + len(ADAPTERS),
        "the change of the contract arrives",
        seconds_max=10,
        pause_seconds=0.1,
    )
    yield clients
    for client in clients.values():
        client.close()
    installation.json("apply")


def test_usage_is_vllms_own(engine: Engine, banks: dict[str, openai.OpenAI]) -> None:
    engine.await_idle()
    before = engine.counts()
    plain = banks["A"].chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=12)
    stream = banks["A"].chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=9, stream=True, stream_options={"include_usage": True}
    )
    reported = [plain.usage, list(stream)[-1].usage]
    after = engine.counts()
    assert after["prompt_tokens"] - before["prompt_tokens"] == sum(each.prompt_tokens for each in reported if each)
    assert after["generation_tokens"] - before["generation_tokens"] == sum(
        each.completion_tokens for each in reported if each
    )


def test_a_client_that_leaves_stops_the_generation(engine: Engine, banks: dict[str, openai.OpenAI]) -> None:
    engine.await_idle()
    before = engine.counts()["generation_tokens"]
    stream = banks["A"].chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=1000, stream=True, extra_body={"ignore_eos": True}
    )
    for number, _ in enumerate(stream):
        if number == 5:
            assert engine.count("num_requests_running") == 1
            break
    stream.close()
    engine.await_idle()
    assert 5 <= engine.counts()["generation_tokens"] - before < 1000


def test_a_bank_finds_its_own_prompt_in_the_cache_and_never_another_banks(
    engine: Engine, banks: dict[str, openai.OpenAI]
) -> None:
    def hits(bank: str) -> tuple[int, int]:
        before = engine.count("prefix_cache_hits_total")
        answer = banks[bank].chat.completions.create(model=MODEL, messages=LONG, max_tokens=1)
        assert answer.usage
        assert answer.usage.prompt_tokens_details
        return engine.count("prefix_cache_hits_total") - before, answer.usage.prompt_tokens_details.cached_tokens or 0

    assert hits("A") == (0, 0)
    again = hits("A")
    assert again[0] == again[1] > 0
    assert hits("B") == (0, 0)
    assert hits("B") == again


@pytest.mark.parametrize("field", ["cache_salt", "priority", "adapter", "prompt_logprobs", "vllm_xargs"])
def test_a_client_cannot_say_what_only_the_gateway_may(banks: dict[str, openai.OpenAI], field: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        banks["A"].chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1, extra_body={field: "1"})
    assert (refused.value.code, refused.value.param) == ("unknown_parameter", field)


async def test_two_adapters_and_their_base_are_told_apart_under_load(installation: Any) -> None:
    env = installation.demo_env
    models = (MODEL, *ADAPTERS)
    # As many as the bank's contract allows at once, which is as many as the engine generates at once.
    places = asyncio.Semaphore(4)
    async with openai.AsyncOpenAI(base_url=env["FINPOOL_BASE_URL"], api_key=env["BANK_B_KEY"], max_retries=3) as client:

        async def beginning(model: str) -> str:
            async with places:
                answer = await client.chat.completions.create(model=model, messages=QUESTION, max_tokens=3, **GREEDY)
            assert answer.model == model
            return answer.choices[0].message.content or ""

        alone = {model: await beginning(model) for model in models}
        assert len(set(alone.values())) == len(models)
        asked = [model for _ in range(8) for model in models]
        answers = await asyncio.gather(*(beginning(model) for model in asked))
    assert dict.fromkeys(zip(asked, answers, strict=True)) == dict.fromkeys(alone.items())


async def test_no_banks_answer_changes_with_what_others_ask_and_break_off_beside_it(
    installation: Any, seed: int
) -> None:
    """Each bank's secret is in its prompt, so an answer that mixes two prompts is another answer."""
    env, numbers = installation.demo_env, random.Random(seed)
    secrets = {"A": "blue heron", "B": "copper lantern"}
    places = {bank: asyncio.Semaphore(3) for bank in secrets}
    clients = {
        bank: openai.AsyncOpenAI(base_url=env["FINPOOL_BASE_URL"], api_key=env[f"BANK_{bank}_KEY"], max_retries=3)
        for bank in secrets
    }

    async def answer(bank: str, leaves_after: int | None) -> str:
        asked: list[Any] = [{"role": "user", "content": f"Write a sentence about a {secrets[bank]}."}]
        text = ""
        async with places[bank]:
            stream = await clients[bank].chat.completions.create(
                model=MODEL, messages=asked, max_tokens=8, stream=True, **GREEDY
            )
            async for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                if leaves_after is not None and len(text) > leaves_after:
                    break
            await stream.close()
        return text

    alone = {bank: await answer(bank, None) for bank in secrets}
    assert alone["A"] != alone["B"]
    asked = [(bank, numbers.choice([None, None, 0, 10])) for _ in range(12) for bank in secrets]
    answers = await asyncio.gather(*(answer(bank, leaves_after) for bank, leaves_after in asked))
    for (bank, leaves_after), text in zip(asked, answers, strict=True):
        assert alone[bank].startswith(text)
        assert leaves_after is not None or text == alone[bank]
    for client in clients.values():
        await client.close()


def test_a_bank_sees_only_its_own_adapters_and_shared_models(banks: dict[str, openai.OpenAI]) -> None:
    assert {model.id for model in banks["A"].models.list()} == {MODEL}
    assert {model.id for model in banks["B"].models.list()} == {MODEL, *ADAPTERS}
    with pytest.raises(openai.NotFoundError):
        banks["A"].chat.completions.create(model=ADAPTERS[0], messages=QUESTION, max_tokens=1)


def test_a_prompt_that_does_not_fit_is_refused_in_openais_words(banks: dict[str, openai.OpenAI]) -> None:
    too_long: list[Any] = [{"role": "user", "content": "word " * 2500}]
    with pytest.raises(openai.BadRequestError) as refused:
        banks["A"].chat.completions.create(model=MODEL, messages=too_long, max_tokens=1)
    assert refused.value.code == "context_length_exceeded"


def test_an_answer_follows_its_json_schema(banks: dict[str, openai.OpenAI]) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    answer = banks["A"].chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=32,
        response_format={"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}},
        **GREEDY,
    )
    assert (answer.choices[0].message.content or "").strip().startswith("{")


def test_a_stop_string_is_charged_as_one_token(banks: dict[str, openai.OpenAI]) -> None:
    def answer(**fields: Any) -> Any:
        return banks["A"].chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=24, logprobs=True, **GREEDY, **fields
        )

    stop = (whole := answer().choices[0].message.content)[20:27]
    stopped = answer(stop=[stop])
    (choice,) = stopped.choices
    assert (choice.message.content, choice.finish_reason) == (whole.partition(stop)[0], "stop")
    assert stopped.usage.completion_tokens == len(choice.logprobs.content) + 1


def test_greedy_choices_beside_each_other_are_equal(banks: dict[str, openai.OpenAI]) -> None:
    alone = banks["A"].chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8, **GREEDY)
    both = banks["A"].chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8, n=2, top_p=0)
    assert {each.message.content for each in both.choices} == {alone.choices[0].message.content}


def test_the_bytes_of_all_entries_are_the_text(banks: dict[str, openai.OpenAI]) -> None:
    schema: dict[str, object] = {"enum": ["Zürich \U0001f600 银行"]}
    answer = banks["A"].chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=64,
        logprobs=True,
        top_logprobs=1,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema}},
        **GREEDY,
    )
    (choice,) = answer.choices
    assert choice.logprobs
    entries = choice.logprobs.content or []
    assert b"".join(bytes(each.bytes or []) for each in entries).decode() == choice.message.content


def test_answers_follow_every_keyword_of_generated_schemas(banks: dict[str, openai.OpenAI]) -> None:
    @settings(max_examples=GENERATED_SCHEMAS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(schema=SCHEMAS, number=st.integers(0, 2**31))
    def holds(schema: Any, number: int) -> None:
        choice = (
            banks["A"]
            .chat.completions.create(
                model=MODEL,
                messages=QUESTION,
                max_tokens=150,
                temperature=1.5,
                seed=number,
                response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
            )
            .choices[0]
        )
        if choice.finish_reason == "stop":
            require_valid(choice.message.content or "", schema)

    holds()
