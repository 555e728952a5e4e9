"""Two replicas on one budget for about half of the requests: never over it, and nearly all of it used."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from sector import ReplicaProcesses, Sector
from waiting import until

from finpool.identity import service as identity
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import KeyId, TenantId
from finpool.quota.limit.service import write_limits
from finpool.quota.schemas import AccountView, LimitKey, Limits, Scope, SetBy

BANK = TenantId("bank-a")
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)
MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
BUDGET_MICROS = 1_500
COST_MICROS = 10 + 2 * 5
ASKED = 2 * BUDGET_MICROS // COST_MICROS
BOUND_MICROS = 256 + 200 + 2 * 5
"""The most that one request may cost: the template, its bytes of input, and its output."""

CALLERS = 3
ACTS_SECONDS_MAX = 4
"""A change acts within two seconds; the calls that find out take time, too."""


async def is_served(client: AsyncOpenAI) -> bool:
    try:
        await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
    except openai.RateLimitError:
        return False
    return True


async def ask(client: AsyncOpenAI, times: int) -> int:
    return sum([await is_served(client) for _ in range(times)])


async def watch(sector: Sector, over: list[AccountView], stop: asyncio.Event) -> None:
    while not stop.is_set():
        account = await sector.account("bank-a")
        if account.posted_micros + account.pending_micros > BUDGET_MICROS:
            over.append(account)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.02)


async def spend_the_rest(sector: Sector, clients: Sequence[AsyncOpenAI]) -> int:
    """Ask each replica in turn, with nothing held by the other, until both refuse."""
    served = 0
    while True:
        before = served
        for client in clients:
            await sector.settled("bank-a")
            served += await is_served(client)
        if served == before:
            return served


async def test_two_replicas_never_spend_more_than_the_budget_and_leave_less_than_one_request(
    sector: Sector, add_replica: Callable[..., ReplicaProcesses]
) -> None:
    _, key = await sector.add_tenant("bank-a", BUDGET_MICROS)
    replicas = [add_replica("one"), add_replica("two")]
    for replica in replicas:
        await replica.ready()
    over, stop = list[AccountView](), asyncio.Event()
    async with replicas[0].client(key) as one, replicas[1].client(key) as two:
        watching = asyncio.create_task(watch(sector, over, stop))
        callers = [ask(client, ASKED // CALLERS // 2) for client in (one, two) for _ in range(CALLERS)]
        served = sum(await asyncio.gather(*callers))
        served += await spend_the_rest(sector, (one, two))
        stop.set()
        await watching
    account = await sector.settled("bank-a")
    assert over == []
    assert served < ASKED
    assert len(await sector.usage("bank-a")) == served
    assert account.posted_micros == served * COST_MICROS <= BUDGET_MICROS
    assert BUDGET_MICROS - account.posted_micros < BOUND_MICROS


async def refused_with(code: str, client: AsyncOpenAI) -> None:
    """Call until a call is refused with a code."""

    async def is_refused() -> bool:
        try:
            await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
        except openai.APIStatusError as error:
            return error.code == code
        return False

    await until(is_refused, f"a call is refused with {code}", seconds_max=ACTS_SECONDS_MAX, pause_seconds=0.1)


async def test_a_key_that_is_limited_or_revoked_stops_in_every_replica_within_two_seconds(
    sector: Sector, database: Callable[[str], Database], add_replica: Callable[..., ReplicaProcesses]
) -> None:
    key_id, secret = await sector.add_tenant(BANK, 10**6)
    replicas = [add_replica("one"), add_replica("two")]
    for replica in replicas:
        await replica.ready()
    async with replicas[0].client(secret) as one, replicas[1].client(secret) as two:
        assert [await is_served(one), await is_served(two)] == [True, True]
        async with database("operator").across_tenants() as session:
            limit = LimitKey(SetBy.OPERATOR, Scope.KEY, key_id)
            await write_limits(session, BANK, limit, Limits(requests_per_minute=0))
        for client in (one, two):
            await refused_with("rate_limit_exceeded", client)
        async with database("operator").across_tenants() as session:
            await write_limits(session, BANK, limit, Limits(requests_per_minute=2))
        await sector.changes_are_heard(BANK, *replicas)
        served = [await is_served(client) for client in (one, two) * 3]
        assert sum(served) == 2  # Two over both replicas, and not two in each.
        async with database("operator").across_tenants() as session:
            await identity.revoke_key(session, OPERATOR, BANK, KeyId(key_id))
        for client in (one, two):
            await refused_with("invalid_api_key", client)
