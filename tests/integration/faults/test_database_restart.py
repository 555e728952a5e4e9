"""Postgres goes away in the middle of the work and comes back."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import openai
import pytest
from database_settings import settings_for
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from sector import ReplicaProcesses, Sector
from waiting import until

from finpool.apps.migrate import migrate
from finpool.identity.service import revoke_key
from finpool.installation.postgres import start_postgres, stop_postgres
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import KeyId, TenantId
from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
BANK = "bank-a"
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)


@pytest.fixture
def own_postgres() -> Iterator[tuple[Path, dict[str, str]]]:
    """A server that this test may stop."""
    home = Path(tempfile.mkdtemp(prefix="finpool-restart-"))
    try:
        server = start_postgres(home)
        migrate(settings_for(server.urls))
        yield home, server.urls
    finally:
        stop_postgres(home)
        shutil.rmtree(home)


@pytest.fixture
def settings(own_postgres: tuple[Path, dict[str, str]], tmp_path: Path) -> Settings:
    """Settings of processes on that server."""
    secrets_dir = tmp_path / "secrets"
    secrets_dir.mkdir(mode=0o700)
    (secrets_dir / "key_pepper").write_text("p" * 64)
    (secrets_dir / "engine_token").write_text("t" * 64)
    return settings_for(own_postgres[1], home=tmp_path)


@pytest.fixture
async def database(own_postgres: tuple[Path, dict[str, str]]) -> AsyncIterator[Callable[[str], Database]]:
    opened: dict[str, Database] = {}

    def open_as(role: str) -> Database:
        return opened.setdefault(role, Database(own_postgres[1][role], connections_max=5))

    yield open_as
    for each in opened.values():
        await each.close()


def start_again(home: Path) -> None:
    """Start the server from another process: the wheel starts one only once in each."""
    program = (
        "import sys, pathlib; from finpool.installation.postgres import start_postgres; "
        "start_postgres(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", program, str(home)], check=True, timeout=60)


async def chat(client: AsyncOpenAI) -> ChatCompletion:
    return await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)


async def call_while_it_is_gone(client: AsyncOpenAI) -> int:
    """Calls are served out of the lease or refused with a documented 429; anything else is a failure."""
    results = [await outcome(client) for _ in range(15)]
    assert set(results) <= {"served", "quota_unavailable"}
    return results.count("served")


async def outcome(client: AsyncOpenAI) -> str | None:
    try:
        await chat(client)
    except openai.RateLimitError as refused:
        return refused.code
    return "served"


async def test_settlements_wait_for_the_database_and_a_revocation_is_seen_at_once(
    own_postgres: tuple[Path, dict[str, str]],
    database: Callable[[str], Database],
    sector: Sector,
    add_replica: Callable[..., ReplicaProcesses],
) -> None:
    home, _ = own_postgres
    key_id, key = await sector.add_tenant(BANK, 1_000_000)
    replica = add_replica("one", lease_idle_seconds=3)
    await replica.ready()
    async with replica.client(key) as client:
        await chat(client)
        await asyncio.to_thread(stop_postgres, home)
        with pytest.raises(openai.InternalServerError) as refused:
            await client.chat.completions.create(
                model=MODEL, messages=HELLO, max_tokens=5, extra_headers={"Idempotency-Key": "k"}
            )
        assert (refused.value.status_code, refused.value.code) == (503, "idempotency_unavailable")
        served = 1 + await call_while_it_is_gone(client)
        assert served > 1
        await asyncio.to_thread(start_again, home)
        async with database("operator").across_tenants() as session:
            await revoke_key(session, OPERATOR, TenantId(BANK), KeyId(key_id))
        async with asyncio.timeout(4):
            await calls_until_refused(client)
    account = await sector.settled(BANK)
    records = await sector.usage(BANK)
    assert len(records) >= served
    assert len({each["request_id"] for each in records}) == len(records)
    assert account.posted_micros == -(-sum(int(each["cost_picos"]) for each in records) // 1_000_000)


async def calls_until_refused(client: AsyncOpenAI) -> None:
    async def is_refused() -> bool:
        try:
            await chat(client)
        except openai.AuthenticationError:
            return True
        except openai.RateLimitError:
            pass
        return False

    await until(is_refused, "the key is refused", pause_seconds=0.05)
