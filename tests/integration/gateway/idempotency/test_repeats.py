"""The same request with the same `Idempotency-Key` gets the same answer and is paid once; another one is refused."""

import asyncio
from typing import Any

import aiohttp
import asyncpg
import openai
import pytest
from idempotent_requests import MODEL, answers, ask, chat, event_error, stream_bytes
from served_bank import ServedBank
from waiting import until

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


@pytest.fixture
async def key(bank: ServedBank) -> str:
    return await bank.add_tenant("bank-a")


async def test_the_official_client_gets_the_same_answer_again_and_pays_once(bank: ServedBank, key: str) -> None:
    async with bank.client(key) as client:
        first = await chat(client, extra_headers=KEY)
        again = await chat(client, extra_headers=KEY)
        assert again == first
        other = await chat(client, extra_headers={"Idempotency-Key": "another"})
    assert other.id != first.id
    assert len(bank.engine.bodies) == 2
    assert len(await bank.usage("bank-a")) == 2
    assert (await bank.settled("bank-a")).posted_micros == 2 * 20


async def test_a_stream_is_repeated_byte_for_byte(bank: ServedBank, key: str) -> None:
    first = await ask(bank, key, "k", stream=True, stream_options={"include_usage": True})
    again = await ask(bank, key, "k", stream=True, stream_options={"include_usage": True})
    assert again.body == first.body
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(await bank.usage("bank-a")) == 1


async def test_a_completion_of_raw_text_is_repeated_whole_and_streamed(bank: ServedBank, key: str) -> None:
    async with bank.client(key) as client:
        first = await client.completions.create(model=MODEL, prompt="A bank", extra_headers=KEY)
        assert await client.completions.create(model=MODEL, prompt="A bank", extra_headers=KEY) == first
        named = {"Idempotency-Key": "of the stream"}
        stream = await client.completions.create(model=MODEL, prompt="A bank", stream=True, extra_headers=named)
        chunks = [chunk async for chunk in stream]
        again = await client.completions.create(model=MODEL, prompt="A bank", stream=True, extra_headers=named)
        assert [chunk async for chunk in again] == chunks
    assert len(bank.engine.bodies) == 2


async def test_white_space_and_the_order_of_fields_make_no_other_request(bank: ServedBank, key: str) -> None:
    first = await ask(
        bank, key, "k", raw=b'{"model": "%s", "messages": [{"role": "user", "content": "x"}]}' % MODEL.encode()
    )
    again = await ask(bank, key, "k", raw=b'{"messages":[{"content":"x","role":"user"}],"model":"%s"}' % MODEL.encode())
    assert (first.status, again.status, again.body) == (200, 200, first.body)


async def test_another_body_under_the_same_key_is_refused(bank: ServedBank, key: str) -> None:
    await ask(bank, key, "k")
    other = await ask(bank, key, "k", temperature=0.5)
    assert (other.status, other.error["code"]) == (422, "idempotency_key_reused")
    async with bank.client(key) as client:
        with pytest.raises(openai.UnprocessableEntityError):
            await chat(client, seed=1, extra_headers={"Idempotency-Key": "k"})
    assert len(bank.engine.bodies) == 1


async def test_a_repetition_while_the_first_still_runs_is_refused_and_told_when_to_come_back(
    bank: ServedBank, key: str
) -> None:
    bank.engine.may_begin.clear()
    first = asyncio.create_task(ask(bank, key, "k"))
    await until(lambda: bank.engine.under_way, "the first one runs")
    refused = await ask(bank, key, "k")
    assert (refused.status, refused.error["code"]) == (409, "idempotent_request_running")
    assert int(refused.headers["retry-after"]) >= 1
    bank.engine.may_begin.set()
    assert (await ask(bank, key, "k")).status in (200, 409)
    answered = await first
    assert (await ask(bank, key, "k")).body == answered.body
    assert len(bank.engine.bodies) == 1


async def test_of_many_at_once_exactly_one_runs(bank: ServedBank, key: str) -> None:
    found = await asyncio.gather(*(answers(bank, key, f"key {number % 3}") for number in range(12)))
    assert len(set(found)) == 3
    assert len(bank.engine.bodies) == 3
    assert len(await bank.usage("bank-a")) == 3
    assert (await bank.settled("bank-a")).posted_micros == 3 * 20


async def test_two_tenants_with_the_same_key_and_body_are_two_requests(bank: ServedBank, key: str) -> None:
    other_key = await bank.add_tenant("bank-b")
    first, second = await ask(bank, key, "k"), await ask(bank, other_key, "k")
    assert first.body != second.body
    assert "idempotent-replayed" not in second.headers
    assert len(bank.engine.bodies) == 2


async def test_a_client_that_leaves_finds_the_whole_answer_when_it_comes_back(bank: ServedBank, key: str) -> None:
    bank.engine.may_begin.clear()
    with pytest.raises(TimeoutError):
        await ask(bank, key, "k", total_seconds=0.2)
    await until(lambda: bank.engine.under_way, "the engine works for it")
    bank.engine.may_begin.set()
    repeated = await until(lambda: _answered(bank, key), "the answer is kept")
    assert repeated.headers["idempotent-replayed"] == "true"
    assert len(bank.engine.bodies) == 1
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["output_tokens"]) == ("completed", 5)


async def test_a_client_that_leaves_in_the_middle_of_a_stream_finds_all_of_it(bank: ServedBank, key: str) -> None:
    bank.engine.pause_seconds = 0.05
    read = await stream_bytes(bank, key, "k", leave_after=1)
    repeated = await until(lambda: _answered(bank, key, stream=True), "the answer is kept")
    assert repeated.body.startswith(read)
    assert repeated.body.endswith(b"data: [DONE]\n\n")
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["output_tokens"]) == ("completed", 5)


async def test_an_answer_without_a_client_is_cut_off_and_paid_when_its_gateway_ends(
    bank: ServedBank, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finpool.gateway.idempotency.service.WORK_SECONDS_MAX", 0.1)
    bank.engine.output_tokens, bank.engine.pause_seconds = 100, 0.1
    await stream_bytes(bank, key, "k", leave_after=2)
    await bank.restart()
    (record,) = await bank.usage("bank-a")
    assert (record["outcome"], record["estimated"]) == ("aborted", False)
    assert 2 <= record["output_tokens"] < 100
    bank.engine.output_tokens = 5
    anew = await ask(bank, key, "k", stream=True)
    assert (anew.status, anew.headers.get("idempotent-replayed")) == (200, None)


async def _answered(bank: ServedBank, key: str, **body: Any) -> Any:
    answer = await ask(bank, key, "k", **body)
    return answer if answer.status == 200 else None


async def test_a_failed_request_frees_its_key(bank: ServedBank, key: str) -> None:
    bank.engine.refuse_with = 500
    failed = await ask(bank, key, "k")
    assert failed.status >= 500
    bank.engine.refuse_with = None
    assert (await ask(bank, key, "k", temperature=0.5)).status == 200


async def test_a_stream_that_breaks_off_frees_its_key_and_costs_nothing(bank: ServedBank, key: str) -> None:
    bank.engine.break_after = 2
    broken = await ask(bank, key, "k", stream=True)
    assert event_error(broken.body) is not None
    bank.engine.break_after = None
    whole = await ask(bank, key, "k", stream=True)
    assert event_error(whole.body) is None
    assert "idempotent-replayed" not in whole.headers
    assert (await bank.settled("bank-a")).posted_micros == 20


async def test_a_request_that_its_budget_refuses_frees_its_key(bank: ServedBank, key: str) -> None:
    poor = await bank.add_tenant("bank-b", budget_total_micros=1)
    assert (await ask(bank, poor, "k")).status == 429
    await bank.change_limits("bank-b", budget_total_micros=1_000_000)
    await bank.hears_changes()
    assert (await ask(bank, poor, "k")).status == 200


async def test_a_repetition_is_free_of_the_budget_and_counts_as_a_request(bank: ServedBank, key: str) -> None:
    first = await ask(bank, key, "k")
    await bank.settled("bank-a")
    await bank.change_limits("bank-a", budget_total_micros=20, requests_per_minute=2)
    await bank.hears_changes()
    again = await ask(bank, key, "k")
    assert (again.status, again.body) == (200, first.body)
    refused = [await ask(bank, key, "k") for _ in range(2)]
    assert {(each.status, each.error["code"]) for each in refused[-1:]} == {(429, "rate_limit_exceeded")}


async def test_an_answer_lives_for_24_hours_of_the_databases_clock(bank: ServedBank, key: str) -> None:
    first = await ask(bank, key, "k")
    owner = await asyncpg.connect(bank.settings.database_url("owner"))
    await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    life = await owner.fetchval("SELECT expires_at - claimed_at FROM idempotent_request")
    await owner.execute("UPDATE idempotent_request SET claimed_at = now() - interval '25 h', expires_at = now()")
    await owner.close()
    anew = await ask(bank, key, "k", temperature=0.5)
    assert life.total_seconds() == pytest.approx(24 * 3600, abs=1)
    assert (anew.status, anew.headers.get("idempotent-replayed")) == (200, None)
    assert anew.body != first.body


@pytest.mark.parametrize("value", ["", "x" * 256, "café", "a\tb"])
async def test_a_malformed_key_is_refused(bank: ServedBank, key: str, value: str) -> None:
    refused = await ask(bank, key, value)
    assert (refused.status, refused.error["code"]) == (400, "invalid_idempotency_key")


async def test_two_keys_are_refused(bank: ServedBank, key: str) -> None:
    headers = [("authorization", f"Bearer {key}"), ("idempotency-key", "a"), ("idempotency-key", "b")]
    url = f"{bank.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json={}, headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "repeated_header")


async def test_a_model_that_was_withdrawn_gives_no_kept_answer(bank: ServedBank, key: str) -> None:
    await ask(bank, key, "k")
    owner = await asyncpg.connect(bank.settings.database_url("owner"))
    await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    await owner.execute("UPDATE tenant SET models = '{}', version = version + 1")
    await owner.close()
    await bank.hears_changes()
    assert (await ask(bank, key, "k")).status == 404


async def test_the_database_holds_neither_key_nor_prompt_nor_answer(bank: ServedBank, key: str) -> None:
    answer = await ask(bank, key, "the-clients-own-key")
    assert b"w1 w2" in answer.body
    owner = await asyncpg.connect(bank.settings.database_url("owner"))
    await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    (row,) = await owner.fetch("SELECT * FROM idempotent_request")
    await owner.close()
    stored = b" ".join(each if isinstance(each, bytes) else str(each).encode() for each in row.values())
    for secret in (b"the-clients-own-key", b"Hello", b"w1", b"chatcmpl", b"choices"):
        assert secret not in stored
