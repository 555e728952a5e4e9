"""The keys and kept answers of one bank are bounded, and a neighbour does not notice."""

from typing import Any

import asyncpg
import pytest
from idempotent_requests import ask, event_error
from served_bank import ServedBank

from finpool.gateway.idempotency.purge import purge_expired
from finpool.kernel.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings of a door that keeps little."""
    return settings.model_copy(
        update={
            "idempotency_keys_max": 3,
            "idempotency_tenant_bytes_max": 6_000,
            "idempotency_answer_bytes_max": 4_000,
        }
    )


@pytest.fixture
async def key(bank: ServedBank) -> str:
    return await bank.add_tenant("bank-a")


async def rows(bank: ServedBank, query: str) -> Any:
    owner = await asyncpg.connect(bank.settings.database_url("owner"))
    try:
        await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
        return await owner.fetchval(query)
    finally:
        await owner.close()


async def test_a_tenant_with_too_many_keys_is_refused_and_no_other(bank: ServedBank, key: str) -> None:
    neighbour = await bank.add_tenant("bank-b")
    for number in range(3):
        assert (await ask(bank, key, f"key {number}")).status == 200
    refused = await ask(bank, key, "one more")
    assert (refused.status, refused.error["code"]) == (429, "idempotency_limit_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    assert (await ask(bank, key, "key 0")).headers["idempotent-replayed"] == "true"
    assert (await ask(bank, neighbour, "one more")).status == 200
    async with bank.client(key) as client:
        await client.chat.completions.create(
            model="smollm2-135m-instruct", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
        )


async def test_a_tenant_with_too_many_bytes_of_answers_is_refused(bank: ServedBank, key: str) -> None:
    bank.engine.output_tokens = 10
    assert [(await ask(bank, key, str(number), stream=True)).status for number in range(2)] == [200, 200]
    bank.settings = bank.settings.model_copy(update={"idempotency_tenant_bytes_max": 5_000})
    await bank.restart()
    refused = await ask(bank, key, "one more")
    assert (refused.status, refused.error["code"]) == (429, "idempotency_limit_exceeded")


async def test_an_answer_that_is_too_large_to_be_kept_is_refused(bank: ServedBank, key: str) -> None:
    bank.engine.output_tokens = 1_000
    refused = await ask(bank, key, "k")
    assert (refused.status, refused.error["code"]) == (400, "idempotent_answer_too_large")
    assert (await bank.settled("bank-a")).posted_micros == 0
    bank.engine.output_tokens = 5
    assert (await ask(bank, key, "k")).status == 200


async def test_a_stream_that_outgrows_what_can_be_kept_ends_with_an_error_and_is_paid(
    bank: ServedBank, key: str
) -> None:
    bank.engine.output_tokens, bank.engine.pause_seconds = 100, 0.002
    broken = await ask(bank, key, "k", stream=True)
    error = event_error(broken.body)
    assert error is not None
    assert error["code"] == "idempotent_answer_too_large"
    (record,) = await bank.usage("bank-a")
    assert record["outcome"] == "aborted"
    assert record["output_tokens"] >= broken.body.count(b'"content"')
    assert (await bank.settled("bank-a")).posted_micros == 10 + 2 * record["output_tokens"]
    assert await rows(bank, "SELECT count(*) FROM idempotent_request") == 0


async def test_the_worker_deletes_what_has_expired_and_nothing_else(bank: ServedBank, key: str) -> None:
    for number in range(3):
        await ask(bank, key, f"key {number}")
    assert await purge_expired(bank.worker) == 0
    await rows(
        bank,
        "UPDATE idempotent_request SET claimed_at = now() - interval '25 h', expires_at = now()"
        " WHERE key_digest < (SELECT max(key_digest) FROM idempotent_request)",
    )
    assert await purge_expired(bank.worker) == 2
    assert await rows(bank, "SELECT count(*) FROM idempotent_request") == 1
