"""Two replicas on one budget that holds about half of what is asked: never over it, and nearly all of it used."""

import asyncio

import openai

MODEL = "smollm2-135m-instruct"
HELLO = [{"role": "user", "content": "Hello"}]
BUDGET_MICROS = 1_500
COST_MICROS = 10 + 2 * 5
ASKED = 2 * BUDGET_MICROS // COST_MICROS
BOUND_MICROS = 256 + 200 + 2 * 5
"""What one request may cost at the most: the template, its bytes of input, and its output."""

CALLERS = 3


async def is_served(client):
    try:
        await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
    except openai.RateLimitError:
        return False
    return True


async def ask(client, times):
    return sum([await is_served(client) for _ in range(times)])


async def watch(sector, over, stop):
    while not stop.is_set():
        account = await sector.account("bank-a")
        if account.posted_micros + account.pending_micros > BUDGET_MICROS:
            over.append(account)
        await asyncio.sleep(0.02)


async def spend_the_rest(sector, clients):
    """Ask each replica in turn, with nothing held by the other, until both refuse."""
    served = 0
    while True:
        before = served
        for client in clients:
            await sector.settled("bank-a")
            served += await is_served(client)
        if served == before:
            return served


async def test_two_replicas_never_spend_more_than_the_budget_and_leave_less_than_one_request(sector, add_replica):
    _, key = await sector.add_tenant("bank-a", BUDGET_MICROS)
    replicas = [add_replica("one"), add_replica("two")]
    for replica in replicas:
        await replica.ready()
    over, stop = [], asyncio.Event()
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
