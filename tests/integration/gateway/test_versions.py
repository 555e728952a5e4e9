"""Each request goes to the version that the routing in force gives it, and its record names what answered."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import openai
import pytest
from model_life import CATALOGUE, LifeWriter, proposed
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from served_bank import ServedBank

from finpool.catalogue.version import service as versions
from finpool.catalogue.version.schemas import NewVersion, VersionState
from finpool.gateway.peers.sync import SYNC_SECONDS
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database import Database

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)
OTHER = "a" * 64
DECLARED = CATALOGUE.get(MODEL).weights_sha256


class Operated:
    """A model whose life a test directs, before a door that hears of it."""

    def __init__(self, bank: ServedBank, database: Callable[[str], Database]) -> None:
        self.bank = bank
        self.pool = LifeWriter(database)

    async def route(self, **shares: int) -> None:
        async with self.bank.operator.across_tenants() as session:
            named = {name.lstrip("v"): share for name, share in shares.items()}
            await versions.route(session, OPERATOR, MODEL, named)

    async def start_other(self) -> None:
        """Bring a second version, with other weights, to where it serves."""
        weights = {"source": "path", "path": "/weights/other.gguf", "sha256": OTHER}
        async with self.bank.operator.across_tenants() as session:
            new = NewVersion.model_validate(proposed(weights=weights, context_tokens=1024))
            await versions.propose(session, OPERATOR, CATALOGUE, MODEL, new)
            await versions.accept_licence(session, OPERATOR, MODEL, "2", "Apache-2.0")
            await versions.start(session, OPERATOR, MODEL, "2")
        self.bank.engine.weights["2"] = OTHER
        await self.pool.move("2", VersionState.TESTING)

    async def both_serve(self) -> None:
        """Bring both versions to where they serve, the first one with all requests."""
        await self.pool.serve("1")
        await self.start_other()
        await self.pool.move("2", VersionState.SERVING)

    async def ask(self, client: AsyncOpenAI, requests: int, **options: Any) -> Counter[str]:
        """Ask so often, and return which versions were asked."""
        before = len(self.bank.engine.versions)
        asks = (client.chat.completions.create(model=MODEL, messages=HELLO, **options) for _ in range(requests))
        await asyncio.gather(*asks)
        return Counter(self.bank.engine.versions[before:])

    async def heard(self, client: AsyncOpenAI, version: str) -> None:
        """Wait until requests go to a version."""
        for _ in range(500):
            with contextlib.suppress(openai.InternalServerError):  # Until then there may be none that serves.
                if (await self.ask(client, 1))[version]:
                    return
            await asyncio.sleep(0.02)
        raise AssertionError(f"no request ever went to version {version}")


@pytest.fixture
async def operated(bank: ServedBank, database: Callable[[str], Database]) -> Operated:
    made = Operated(bank, database)
    await made.pool.declare()
    return made


async def test_while_no_version_serves_a_client_is_told_when_to_come_again(
    operated: Operated, bank: ServedBank
) -> None:
    key = await bank.add_tenant("bank-a")
    async with bank.client(key) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(model=MODEL, messages=HELLO)
        assert (refused.value.status_code, refused.value.code) == (503, "model_not_ready")
        assert int(refused.value.response.headers["retry-after"]) > 0
        assert bank.engine.versions == []
        await operated.pool.serve("1")
        await asyncio.sleep(0.3)
        assert await operated.ask(client, 1) == {"1": 1}
    assert (await bank.settled("bank-a")).pending_micros == 0


async def test_requests_follow_the_routing_and_each_record_names_the_weights_that_answered(
    operated: Operated, bank: ServedBank
) -> None:
    key = await bank.add_tenant("bank-a")
    await operated.pool.serve("1")
    await operated.start_other()
    async with bank.client(key) as client:
        await operated.heard(client, "1")
        await operated.route(v1=5_000, v2=5_000)
        assert set(await operated.ask(client, 20)) == {"1"}, "version 2 is still under test"
        await operated.pool.move("2", VersionState.SERVING)
        await operated.heard(client, "2")
        shared = await operated.ask(client, 60)
        assert shared["1"] > 10
        assert shared["2"] > 10
        await operated.route(v1=0, v2=10_000)
        await asyncio.sleep(0.3)
        assert await operated.ask(client, 20) == {"2": 20}
    recorded = Counter(each["weights_sha256"] for each in await bank.usage("bank-a"))
    assert recorded == Counter({"1": DECLARED, "2": OTHER}[version] for version in bank.engine.versions)


async def test_a_request_that_waits_in_the_queue_goes_to_the_version_it_was_admitted_for(
    operated: Operated, bank: ServedBank
) -> None:
    key = await bank.add_tenant("bank-a")
    await operated.both_serve()
    async with bank.client(key) as client:
        await operated.heard(client, "1")
        bank.engine.prompt_seconds = 0.5
        waiting = asyncio.create_task(operated.ask(client, 12))
        await asyncio.sleep(0.2)
        await operated.route(v2=10_000)
        assert await waiting == {"1": 12}
        bank.engine.prompt_seconds = 0.0
        assert await operated.ask(client, 5) == {"2": 5}


async def test_an_engine_of_a_version_with_other_weights_than_declared_answers_nothing(
    operated: Operated, bank: ServedBank
) -> None:
    key = await bank.add_tenant("bank-a")
    await operated.both_serve()
    async with bank.client(key) as client:
        await operated.route(v2=10_000)
        await operated.heard(client, "2")
        bank.engine.weights["2"] = DECLARED
        with pytest.raises(openai.InternalServerError, match="does not serve the weights"):
            await operated.ask(client, 1)


async def test_a_model_that_sleeps_says_how_long_it_takes_to_load_and_is_asked_again_and_again(
    operated: Operated, bank: ServedBank
) -> None:
    key = await bank.add_tenant("bank-a")
    await operated.pool.serve("1")
    bank.engine.asleep = True
    refusals = bank.settings.engine_failures_max + 2
    async with bank.client(key) as client, asyncio.timeout(30):
        while len(bank.engine.bodies) < refusals:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(model=MODEL, messages=HELLO)
            if refused.value.code == "model_not_ready":
                await asyncio.sleep(0.02)  # The door has not heard yet that the version serves.
                continue
            assert (refused.value.status_code, refused.value.code) == (503, "model_cold")
            assert refused.value.response.headers["retry-after"] == "1", "its test measured a millisecond"
        account = await bank.settled("bank-a")
        assert (account.posted_micros, account.pending_micros) == (0, 0)
        bank.engine.asleep = False
        assert await operated.ask(client, 1) == {"1": 1}


async def test_a_gateway_tells_the_others_of_a_version_only_while_requests_go_to_it(
    operated: Operated, bank: ServedBank
) -> None:
    key = await bank.add_tenant("bank-a")
    await operated.both_serve()
    async with bank.client(key) as client:
        await operated.heard(client, "1")
        bank.engine.prompt_seconds = 5.0
        under_way = asyncio.create_task(operated.ask(client, 1))
        await asyncio.sleep(0.2)
        await operated.route(v2=10_000)
        await told_of(bank, f"{MODEL}_1")
        await under_way
        bank.engine.prompt_seconds = 0.0
        await operated.heard(client, "2")
        await operated.pool.move("1", VersionState.DRAINING, VersionState.RETIRED)
        await told_of(bank, f"{MODEL}_2")
        await operated.route(v1=10_000)
        await operated.pool.move("1", VersionState.TESTING, VersionState.SERVING)
        await operated.heard(client, "1")
        await told_of(bank, f"{MODEL}_1")


async def told_of(bank: ServedBank, *engines: str) -> None:
    """Wait until the gateway exchanges about these engines and no other."""
    owner = await asyncpg.connect(bank.settings.database_url("owner"))
    told, rows = set(), await owner.fetch("SELECT engine, seen_at FROM gateway_slots")
    for _ in range(20):
        await asyncio.sleep(2 * SYNC_SECONDS)
        before, rows = rows, await owner.fetch("SELECT engine, seen_at FROM gateway_slots")
        told = {row["engine"] for row in rows if row not in before}
        if told == {*engines}:
            break
    await owner.close()
    assert told == {*engines}
