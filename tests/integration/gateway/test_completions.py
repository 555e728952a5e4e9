"""Text completions as a bank's developer meets them, through the official client."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import aiohttp
import openai
import pytest
from served_bank import ServedBank
from sqlalchemy import text

from finpool.audit.sequencer import Sequencer
from finpool.billing.document.schemas import OwnFocusQuery
from finpool.billing.document.service import focus, rendered_file
from finpool.billing.invoice.draft import own_draft
from finpool.billing.invoice.lines import BillingTerms
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId
from finpool.metering.usage.schemas import ModelUsageQuery
from finpool.metering.usage.service import completions

MODEL = "smollm2-135m-instruct"
WORDS = "w1 w2 w3 w4 w5 "
BANK = TenantId("bank-a")
TERMS = BillingTerms(currency="CNY", seller_name="Sector Pool", tax_label="VAT", tax_basis_points=600)


async def test_a_plain_answer_is_whole_and_its_usage_is_the_engines(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        answer = await client.completions.create(model=MODEL, prompt="A bank", max_tokens=8, user="somebody")
    assert (answer.object, answer.model, answer.id[:5]) == ("text_completion", MODEL, "cmpl-")
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index, choice.logprobs) == (WORDS, "stop", 0, None)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 5, 15)
    (body,) = bank.engine.bodies
    assert body["prompt"] == ["A bank"]
    assert body.keys() == {"prompt", "max_tokens", "model", "stream", "stream_options", "cache_salt"}
    assert (await bank.settled("bank-a")).posted_micros == 10 * 1 + 5 * 2
    (record,) = await bank.usage("bank-a")
    assert (record["input_tokens"], record["output_tokens"], record["outcome"]) == (10, 5, "completed")
    assert record["operation"] == "text_completion"


async def test_an_answer_without_a_limit_is_asked_for_sixteen_tokens(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        await client.completions.create(model=MODEL, prompt="A bank")
    assert bank.engine.bodies[0]["max_tokens"] == 16


async def test_a_stream_keeps_its_identity_and_ends_with_the_usage_that_was_asked_for(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        stream = await client.completions.create(
            model=MODEL, prompt="A bank", stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].object == "text_completion"
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == WORDS
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 4 + ["stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    told = chunks[-1].usage
    assert told is not None
    assert (chunks[-1].choices, told.total_tokens) == ([], 15)


async def test_a_stream_shows_no_usage_that_was_not_asked_for_and_ends_as_clients_expect(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        body = {"model": MODEL, "prompt": "A bank", "stream": True}
        async with session.post(f"{bank.url}/v1/completions", json=body) as response:
            events = await response.text()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "usage" not in events
    assert events.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_each_prompt_has_its_choices_in_order_after_its_text(bank: ServedBank, stream: bool) -> None:
    key = await bank.add_tenant("bank-a")
    texts: dict[int, str] = {}
    async with bank.client(key) as client:
        asked: dict[str, Any] = {"model": MODEL, "prompt": ["A bank ", "一"], "n": 2, "echo": True, "stop": "."}
        answer: Any = await client.completions.create(**asked, stream=stream)
        chunks = [chunk async for chunk in answer] if stream else [answer]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    assert texts == {0: f"A bank {WORDS}", 1: f"A bank {WORDS}", 2: f"一{WORDS}", 3: f"一{WORDS}"}
    (body,) = bank.engine.bodies
    assert (body["n"], body["stop"], "echo" in body) == (2, ["."], False)
    (record,) = await bank.usage("bank-a")
    assert (record["input_tokens"], record["output_tokens"]) == (10, 20)


async def test_a_client_that_leaves_pays_what_was_generated_and_holds_nothing(bank: ServedBank) -> None:
    bank.engine.output_tokens, bank.engine.pause_seconds = 200, 0.02
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        stream = await client.completions.create(model=MODEL, prompt="A bank", max_tokens=200, stream=True)
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 5:
                await stream.close()
                break
    account = await bank.settled("bank-a")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"], record["input_tokens"]) == ("aborted", False, 10)
    assert 5 <= record["output_tokens"] < 200
    assert account.posted_micros == 10 + 2 * record["output_tokens"]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "suffix": ({"suffix": "."}, "unsupported_parameter", "suffix"),
    "token array": ({"prompt": [1, 2]}, "unsupported_parameter", "prompt"),
    "echo with log probabilities": ({"echo": True, "logprobs": 1}, "unsupported_parameter", "logprobs"),
    "unknown field": ({"prefix": "a"}, "unknown_parameter", "prefix"),
    "another model": ({"model": "multilingual-e5-small"}, "unsupported_parameter", "model"),
    "too long an answer": ({"max_tokens": 100_000}, "invalid_value", "max_tokens"),
    "an empty prompt": ({"prompt": ""}, "invalid_value", "prompt"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_request_that_cannot_be_served_is_refused_by_name_and_reaches_no_engine(
    bank: ServedBank, case: str
) -> None:
    fields, code, param = REFUSED[case]
    key = await bank.add_tenant("bank-a")
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        body = {"model": MODEL, "prompt": "A bank", **fields}
        async with session.post(f"{bank.url}/v1/completions", json=body) as response:
            error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, code, param)
    assert bank.engine.bodies == []
    assert (await bank.settled("bank-a")).posted_micros == 0


async def test_the_bound_of_all_prompts_and_choices_is_held_before_any_is_computed(bank: ServedBank) -> None:
    # Two prompts of 1 byte and at most 16 tokens around, 2 choices, 40 output tokens each: 68 + 2 x 160 micros.
    asked: dict[str, Any] = {"model": MODEL, "prompt": ["a", "b"], "n": 2, "max_tokens": 40}
    bound = 2 * (1 + 16) * 2 + 2 * 2 * 2 * 40
    key = await bank.add_tenant("bank-a", budget_total_micros=bound)
    async with bank.client(key) as client:
        await client.completions.create(**asked)
    poor = await bank.add_tenant("bank-b", budget_total_micros=bound - 1)
    async with bank.client(poor) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.completions.create(**asked)
    assert refused.value.code == "insufficient_quota"


async def test_a_prompt_whose_bytes_do_not_fit_is_counted_exactly(bank: ServedBank) -> None:
    bank.engine.counts = True
    key = await bank.add_tenant("bank-a", budget_total_micros=100)
    async with bank.client(key) as client:
        answer = await client.completions.create(model=MODEL, prompt="a bank " * 100, max_tokens=8)
    assert answer.usage is not None
    assert bank.engine.counted == 1
    assert (await bank.settled("bank-a")).posted_micros == 10 + 2 * 5


async def test_an_engine_that_breaks_off_ends_the_stream_with_an_error(bank: ServedBank) -> None:
    bank.engine.break_after = 2
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        stream = await client.completions.create(model=MODEL, prompt="A bank", stream=True)
        with pytest.raises(openai.APIError, match="broke"):
            async for _ in stream:
                pass
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["output_tokens"]) == ("failed", 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeated_request_with_its_key_gets_the_same_answer_and_is_paid_once(
    bank: ServedBank, stream: bool
) -> None:
    key = await bank.add_tenant("bank-a")

    async def answer(idempotency_key: str, prompt: str) -> list[Any]:
        headers = {"Idempotency-Key": idempotency_key}
        async with bank.client(key) as client:
            told: Any = await client.completions.create(
                model=MODEL, prompt=prompt, echo=True, stream=stream, extra_headers=headers
            )
            return [each.model_dump() async for each in told] if stream else [told.model_dump()]

    first = await answer("k", "A bank")
    assert await answer("k", "A bank") == first
    with pytest.raises(openai.UnprocessableEntityError):
        await answer("k", "Another bank")
    assert len(await bank.usage("bank-a")) == 1
    assert (await bank.settled("bank-a")).posted_micros == 20


async def test_an_answer_is_in_usage_in_the_focus_rows_and_in_the_audit_log(bank: ServedBank) -> None:
    key = await bank.add_tenant(BANK)
    async with bank.client(key) as client:
        answer = await client.completions.create(model=MODEL, prompt="A bank")
    await bank.settled(BANK)
    while await Sequencer(bank.worker).run_once():
        pass
    begin = int(now().timestamp()) - 3600
    async with bank.operator.across_tenants() as session:
        page = await completions(session, ModelUsageQuery(start_time=begin, group_by=["model"]), BANK)
        draft = await own_draft(session, BANK, TERMS)
        months = OwnFocusQuery.model_validate({"from": f"{now():%Y-%m}", "to": f"{now():%Y-%m}", "draft": True})
        models = Catalogue.load(default_directory()).all()
        rendering = await focus(session, BANK, months, models, draft)
        entries = [json.loads(each) for each in await session.scalars(text("SELECT entry FROM audit_entry"))]
    exported = (await rendered_file(rendering)).content
    used = [result for bucket in page.data for result in bucket.results]
    assert [(each.model, each.input_tokens, each.output_tokens, each.num_model_requests) for each in used] == [
        (MODEL, 10, 5, 1)
    ]
    rows = [row for row in csv.DictReader(io.StringIO(exported.decode())) if row["ChargeCategory"] == "Usage"]
    assert sum(Decimal(row["ContractedCost"]) for row in rows) == Decimal(10 * 1 + 5 * 2).scaleb(-6)
    (settled,) = [each for each in entries if each["body"].get("operation")]
    assert settled["body"]["request_id"] == f"req_{answer.id.removeprefix('cmpl-')}"
    assert (settled["body"]["operation"], settled["body"]["output_tokens"]) == ("text_completion", 5)
