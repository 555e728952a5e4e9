"""Limits on projects, keys and models at a bank's door: they act at once, and the answer says which one it was."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from served_bank import ServedBank
from waiting import until

from finpool.kernel.ids import TenantId
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import LimitKey, Limits, Scope, SetBy

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
BANK = TenantId("bank-a")
COST_MICROS = 20
BOUND_MICROS = 256 + 200 + 2 * 5
"""The most that one request may cost: the template, its bytes of input, and its output."""


def chat(client: AsyncOpenAI, **options: Any) -> Coroutine[Any, Any, ChatCompletion]:
    return client.chat.completions.create(model=MODEL, messages=HELLO, **{"max_tokens": 5, **options})


async def set_limits(bank: ServedBank, key: LimitKey, **limits: Any) -> None:
    async with bank.operator.across_tenants() as session:
        await write_limits(session, BANK, key, Limits(**limits))


async def key_of(bank: ServedBank) -> LimitKey:
    """Return the limit of the bank's only key, as its owner sets it."""
    async with bank.operator.across_tenants() as session:
        connection = await session.connection()
        (key_id,) = (
            await connection.exec_driver_sql("SELECT key_id FROM api_key WHERE tenant_id = 'bank-a'")
        ).scalars()
    return LimitKey(SetBy.TENANT, Scope.KEY, key_id)


async def is_served(client: AsyncOpenAI) -> bool:
    try:
        await chat(client)
    except openai.RateLimitError:
        return False
    return True


async def refused_soon(client: AsyncOpenAI) -> openai.RateLimitError:
    """Call until a call is refused: a change acts within two seconds, and the calls that find out take time, too."""

    async def refused() -> openai.RateLimitError | None:
        try:
            await chat(client)
        except openai.RateLimitError as error:
            return error
        return None

    return await until(refused, "the change acts", seconds_max=4)


@pytest.mark.parametrize(
    ("lowered", "code"),
    [
        ({"requests_per_minute": 0}, "rate_limit_exceeded"),
        ({"tokens_per_minute": 1}, "rate_limit_exceeded"),
        ({"concurrency": 0}, "rate_limit_exceeded"),
        ({"budget_day_micros": 1}, "insufficient_quota"),
        ({"budget_month_micros": 1}, "insufficient_quota"),
    ],
)
async def test_a_lowered_limit_of_a_key_acts_within_two_seconds_on_what_is_held_already(
    bank: ServedBank, lowered: dict[str, int], code: str
) -> None:
    secret = await bank.add_tenant(BANK)
    about = await key_of(bank)
    await set_limits(bank, about, budget_day_micros=10**6, budget_month_micros=10**6, requests_per_minute=10**4)
    async with bank.client(secret) as client:
        await chat(client)
        served = len(bank.engine.bodies)
        await set_limits(bank, about, **lowered)
        refused = await refused_soon(client)
        assert refused.code == code
        assert f"key {about.scope_id} (set by the tenant)" in str(refused)
        served = len(bank.engine.bodies)
        with pytest.raises(openai.RateLimitError):
            await chat(client)
        assert len(bank.engine.bodies) == served
        await set_limits(bank, about, concurrency=10)
        await until(lambda: is_served(client), "a raised limit acts")
        assert len(bank.engine.bodies) == served + 1


async def test_50_parallel_calls_against_a_projects_budget_that_holds_10_never_pass_it(bank: ServedBank) -> None:
    secret = await bank.add_tenant(BANK, budget_total_micros=10**6)
    project = LimitKey(SetBy.OPERATOR, Scope.PROJECT, "main")
    await set_limits(bank, project, budget_month_micros=10 * BOUND_MICROS)
    await bank.hears_changes()
    bank.engine.pause_seconds = 0.2
    async with bank.client(secret) as client:
        results = await asyncio.gather(*(chat(client) for _ in range(50)), return_exceptions=True)
    refused = [each for each in results if isinstance(each, BaseException)]
    assert {type(each) for each in refused} == {openai.RateLimitError}
    served = len(results) - len(refused)
    account = await bank.settled(BANK)
    assert served
    assert refused
    assert account.posted_micros == COST_MICROS * served <= 10 * BOUND_MICROS
    (month,) = [each for each in account.budgets if each.period == "month"]
    assert (month.posted_micros, month.pending_micros) == (COST_MICROS * served, 0)


async def test_a_refusal_over_a_budget_says_what_is_left_and_when_it_resets(bank: ServedBank) -> None:
    secret = await bank.add_tenant(BANK)
    await set_limits(bank, LimitKey(SetBy.TENANT, Scope.MODEL, MODEL), budget_day_micros=7)
    async with bank.client(secret) as client:
        refused = await refused_soon(client)
    headers = refused.response.headers
    assert (headers["x-ratelimit-limit-budget"], headers["x-ratelimit-remaining-budget"]) == ("7", "7")
    assert headers["x-ratelimit-reset-budget"]
    assert headers["x-should-retry"] == "false"
    assert f"today's budget of model {MODEL} (set by the tenant)" in str(refused)


async def test_two_calls_with_the_same_engine_id_are_two_records(bank: ServedBank) -> None:
    secret = await bank.add_tenant(BANK)
    async with bank.client(secret) as client:
        answers = [await chat(client) for _ in range(2)]
    assert len({each.id for each in answers}) == 2
    records = await bank.usage(BANK)
    assert len({each["request_id"] for each in records}) == 2
    assert (await bank.account(BANK)).posted_micros == 2 * COST_MICROS


async def test_a_request_is_paid_out_of_every_budget_it_counts_against_and_costs_once(bank: ServedBank) -> None:
    secret = await bank.add_tenant(BANK, budget_month_micros=10**6)
    await set_limits(bank, await key_of(bank), budget_day_micros=10**6)
    await bank.hears_changes()
    async with bank.client(secret) as client:
        await chat(client)
    account = await bank.settled(BANK)
    assert account.posted_micros == COST_MICROS
    assert sorted((each.scope, each.period, each.posted_micros) for each in account.budgets) == [
        ("key", "day", COST_MICROS),
        ("tenant", "month", COST_MICROS),
        ("tenant", "total", COST_MICROS),
    ]
    (record,) = await bank.usage(BANK)
    assert len(record["lease_ids"]) == 3
