"""Each request goes to the version that the routing in force gives it, and its record names what answered."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
import openai
import pytest
from model_life import CATALOGUE, LifeWriter, proposed
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from served_bank import ServedBank
from waiting import until

from finpool.catalogue.version import service as versions
from finpool.catalogue.version.schemas import NewVersion, VersionState
from finpool.gateway.peers.sync import SYNC_SECONDS
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database

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

        async def goes_there() -> int:
            with contextlib.suppress(openai.InternalServerError):  # Until then there may be none that serves.
                return (await self.ask(client, 1))[version]
            return 0

        await until(goes_there, f"a request goes to version {version}")


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
        await bank.hears_changes()
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
        await bank.hears_changes()
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
        bank.engine.may_begin.clear()
        waiting = asyncio.create_task(operated.ask(client, 12))
        await until(lambda: bank.admitted() == 12, "all are admitted, and most wait in the queue")
        await operated.route(v2=10_000)
        await bank.hears_changes()
        bank.engine.may_begin.set()
        assert await waiting == {"1": 12}
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
    await bank.hears_changes()
    bank.engine.asleep = True
    refusals = bank.settings.engine_failures_max + 2
    async with bank.client(key) as client, asyncio.timeout(30):
        while len(bank.engine.bodies) < refusals:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(model=MODEL, messages=HELLO)
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
        bank.engine.may_begin.clear()
        under_way = asyncio.create_task(operated.ask(client, 1))
        await until(lambda: bank.engine.under_way, "the engine works")
        await operated.route(v2=10_000)
        await bank.hears_changes()
        await told_of(bank, f"{MODEL}_1")
        bank.engine.may_begin.set()
        await under_way
        await operated.heard(client, "2")
        await operated.pool.move("1", VersionState.DRAINING, VersionState.RETIRED)
        await told_of(bank, f"{MODEL}_2")
        await operated.route(v1=10_000)
        await operated.pool.move("1", VersionState.TESTING, VersionState.SERVING)
        await operated.heard(client, "1")
        await told_of(bank, f"{MODEL}_1")


async def told_of(bank: ServedBank, *engines: str) -> None:
    """Wait until the gateway syncs about these engines of the model and no other of it."""
    owner = await asyncpg.connect(bank.settings.database_url("owner"))
    since = await owner.fetchval("SELECT clock_timestamp()")

    async def tells() -> bool:
        told = "SELECT engine, seen_at FROM gateway_slots WHERE seen_at > $1 AND starts_with(engine, $2)"
        rows = await owner.fetch(told, since, f"{MODEL}_")
        last = max((row["seen_at"] for row in rows), default=since)
        now_told = {row["engine"] for row in rows if last - row["seen_at"] < timedelta(seconds=SYNC_SECONDS / 2)}
        return now_told == {*engines}

    try:
        await until(tells, f"the gateway tells of {engines} alone")
    finally:
        await owner.close()
