"""The price of a bank's request: its own, of its tier, at the moment of its admission."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from served_bank import ServedBank
from waiting import until

from finpool.billing.contract import service as contract_service
from finpool.billing.contract.schemas import NewContract
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price import service as price_service
from finpool.catalogue.price.schemas import Amounts, NewScheduledPrice, ScheduledPrice, Tier, TokenPrice
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId

MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_BILLING)
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
PICOS = 1_000_000


def chat(client: AsyncOpenAI, **options: Any) -> Coroutine[Any, Any, ChatCompletion]:
    return client.chat.completions.create(model=MODEL.id, messages=HELLO, **{"max_tokens": 5, **options})


async def schedule(
    bank: ServedBank,
    amount: int,
    tier: Tier = Tier.STANDARD,
    hours: tuple[str, str] | None = None,
    begins: datetime | None = None,
) -> ScheduledPrice:
    """Schedule a price of `amount` for every kind of token."""
    kinds = ("input", "cached_input", "output")
    body = NewScheduledPrice(
        tier=tier,
        price=Amounts(**{f"{kind}_micros_per_million_tokens": amount for kind in kinds}),
        valid_from=begins,
        off_peak_from=hours[0] if hours else None,
        off_peak_until=hours[1] if hours else None,
    )
    async with bank.operator.across_tenants() as session:
        return await price_service.schedule_price(session, OPERATOR, MODEL, body)


async def agree(bank: ServedBank, tenant_id: str, discount: int) -> None:
    body = NewContract(discount_basis_points=discount, commitment_micros=0, pool_weight=0)
    async with bank.operator.across_tenants() as session:
        await contract_service.set_contract(session, OPERATOR, TenantId(tenant_id), body)


async def shown(client: AsyncOpenAI) -> Any:
    model: Any = await client.models.retrieve(MODEL.id)
    return model.price


async def until_shown(client: AsyncOpenAI, amount: int) -> None:
    """Wait until the bank sees this price of input: changes are pushed."""

    async def is_shown() -> bool:
        return bool((await shown(client))["input_micros_per_million_tokens"] == amount)

    await until(is_shown, f"a price of {amount} is shown")


async def version(bank: ServedBank, name: str) -> TokenPrice:
    async with bank.worker.across_tenants() as session:
        return (await price_service.price_versions(session, [name]))[name]


async def test_a_discount_is_a_price_version_that_usage_names_and_the_database_explains(bank: ServedBank) -> None:
    discounted, listed = await bank.add_tenant("bank-a"), await bank.add_tenant("bank-b")
    await agree(bank, "bank-a", 2_500)
    async with bank.client(discounted) as client:
        await until_shown(client, 750_000)
        await chat(client)
    async with bank.client(listed) as client:
        await chat(client)
    mine, other = (await bank.usage("bank-a"))[0], (await bank.usage("bank-b"))[0]
    assert mine["cost_picos"] == (10 * 750_000 + 5 * 1_500_000)
    assert other["cost_picos"] == (10 * PICOS + 5 * 2 * PICOS)
    assert other["price_version"] == MODEL.price_version != mine["price_version"]
    explained = await version(bank, mine["price_version"])
    assert (explained.input_picos, explained.output_picos) == (750_000, 1_500_000)
    assert (await version(bank, MODEL.price_version)).input_picos == PICOS


async def test_a_price_scheduled_for_later_acts_at_its_moment_and_never_on_a_request_admitted_before(
    bank: ServedBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await bank.add_tenant("bank-a")
    answering, may_end, send = asyncio.Event(), asyncio.Event(), bank.engine.send

    async def hold_the_first(response: web.StreamResponse, choices: list[dict[str, Any]], output_tokens: int) -> None:
        if len(bank.engine.bodies) == 1:
            answering.set()
            await may_end.wait()
        await send(response, choices, output_tokens)

    monkeypatch.setattr(bank.engine, "send", hold_the_first)
    async with bank.client(key) as client:
        before = asyncio.create_task(chat(client))
        await answering.wait()
        begins = now() + timedelta(seconds=0.3)
        await schedule(bank, 40, begins=begins)
        await until_shown(client, 40)
        assert now() >= begins
        after = await chat(client)
        may_end.set()
        old = await before
    usage = {each["request_id"].removeprefix("req_"): each for each in await bank.usage("bank-a")}
    assert usage[after.id.removeprefix("chatcmpl-")]["cost_picos"] == 15 * 40
    settled = usage[old.id.removeprefix("chatcmpl-")]
    assert settled["settled_at"] > begins
    assert (settled["price_version"], settled["cost_picos"]) == (MODEL.price_version, 10 * PICOS + 5 * 2 * PICOS)


async def test_a_flexible_request_gets_the_batch_price_and_the_answer_says_so(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await chat(client, service_tier="flex")
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "service_tier")
        assert bank.engine.bodies == []
        await schedule(bank, 7, Tier.BATCH)
        await schedule(bank, 70)
        await until_shown(client, 70)
        answers = [await chat(client, service_tier=tier) for tier in ("flex", "auto", "default")]
        answers.append(await chat(client))
        assert [each.service_tier for each in answers] == ["flex", "default", "default", "default"]
        stream: Any = await chat(client, service_tier="flex", stream=True)
        assert {chunk.service_tier async for chunk in stream} == {"flex"}
    usage = await bank.usage("bank-a")
    assert [(each["tier"], each["cost_picos"]) for each in usage] == [
        ("batch", 15 * 7),
        ("standard", 15 * 70),
        ("standard", 15 * 70),
        ("standard", 15 * 70),
        ("batch", 15 * 7),
    ]
    assert all("service_tier" not in body for body in bank.engine.bodies)


@pytest.mark.parametrize("tier", ["priority", "scale", "batch", "off_peak", 1])
async def test_a_tier_that_is_not_offered_to_clients_is_refused(bank: ServedBank, tier: object) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await chat(client, service_tier=tier)
    assert refused.value.param == "service_tier"


async def test_off_peak_hours_lower_the_price_of_standard_requests(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    hour = now().hour
    outside = (f"{(hour + 2) % 24:02d}:00", f"{(hour + 4) % 24:02d}:00")
    around = (f"{(hour - 1) % 24:02d}:00", f"{(hour + 2) % 24:02d}:00")
    async with bank.client(key) as client:
        await schedule(bank, 3, Tier.OFF_PEAK, outside)
        await schedule(bank, 9)
        await until_shown(client, 9)
        await chat(client)
        await schedule(bank, 3, Tier.OFF_PEAK, around)
        await until_shown(client, 3)
        answer = await chat(client)
    assert answer.service_tier == "default"
    assert [(each["tier"], each["cost_picos"]) for each in await bank.usage("bank-a")] == [
        ("standard", 15 * 9),
        ("off_peak", 15 * 3),
    ]


async def test_what_is_reserved_is_at_the_banks_own_price(bank: ServedBank) -> None:
    # 300 tokens of input at the most and 5 of output: too much for 100 micros, and enough at a tenth of the price.
    key = await bank.add_tenant("bank-a", budget_total_micros=100)
    async with bank.client(key) as client:
        with pytest.raises(openai.RateLimitError):
            await chat(client)
        await agree(bank, "bank-a", 9_000)
        await until_shown(client, PICOS // 10)
        await chat(client)


async def test_a_bank_that_pays_nothing_is_served_and_its_usage_is_recorded(bank: ServedBank) -> None:
    key = await bank.add_tenant("bank-a")
    await agree(bank, "bank-a", 10_000)
    async with bank.client(key) as client:
        await until_shown(client, 0)
        await chat(client)
    usage = (await bank.usage("bank-a"))[0]
    assert (usage["cost_picos"], usage["input_tokens"], usage["output_tokens"]) == (0, 10, 5)
    assert (await bank.account("bank-a")).posted_micros == 0
