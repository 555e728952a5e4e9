"""The feed of pushed changes: it comes back at once when its connection ends, and a burst of changes is one reload."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from skipping_clock import skip_time
from sqlalchemy.ext.asyncio import AsyncSession
from waiting import until

from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.changes import ChangeFeed, SnapshotTooOld
from finpool.kernel.database.database import CHANGES_CHANNEL, Database
from finpool.kernel.ids import TenantId

SHORT_AGE_SECONDS = 1.0
LONG_AGE_SECONDS = 4 * 3600.0
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE usename = 'finpool_inference' AND query LIKE 'LISTEN%'"


class CountingSnapshot:
    """Remembers what it was asked to load, and may take its time."""

    def __init__(self) -> None:
        self.loads: list[TenantId | None] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        self.loads.append(tenant_id)
        await self.may_go_on.wait()


@pytest.fixture
async def snapshot() -> CountingSnapshot:
    return CountingSnapshot()


@pytest.fixture
async def feed(database: Callable[[str], Database], snapshot: CountingSnapshot) -> AsyncIterator[ChangeFeed]:
    opened = ChangeFeed(database("inference"), [snapshot], LONG_AGE_SECONDS)
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def connection(clean_postgres: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(clean_postgres.urls["inference"])
    yield opened
    await opened.close()


async def loads_reach(snapshot: CountingSnapshot, count: int) -> None:
    await until(lambda: len(snapshot.loads) >= count, f"{count} loads")


@pytest.fixture
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the feeds that open from here on check nothing for an hour."""
    monkeypatch.setattr("finpool.kernel.database.changes.CHECK_SECONDS_MAX", 3600.0)


async def test_a_connection_that_ends_is_made_again_without_waiting_for_the_next_check(
    no_checks: None, feed: ChangeFeed, snapshot: CountingSnapshot, connection: asyncpg.Connection
) -> None:
    await connection.execute('SELECT pg_notify($1, \'{"tenant_id": "bank-a"}\')', CHANGES_CHANNEL)
    await loads_reach(snapshot, 2)
    (listener,) = await connection.fetch(LISTENERS)
    await connection.execute("SELECT pg_terminate_backend($1)", listener["pid"])
    await loads_reach(snapshot, 3)
    assert snapshot.loads == [None, "bank-a", None]


async def test_a_short_age_is_checked_as_often_as_it_needs(
    database: Callable[[str], Database], snapshot: CountingSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = skip_time(monkeypatch)
    feed = ChangeFeed(database("inference"), [snapshot], SHORT_AGE_SECONDS)
    await feed.start()

    def is_fresh() -> bool:
        with contextlib.suppress(SnapshotTooOld):
            feed.require_fresh()
            return True
        return False

    # Checked every 5 seconds, these would be fresh again after 15 seconds.
    async with asyncio.timeout(10):
        for _ in range(3):
            clock.skip(2 * SHORT_AGE_SECONDS)
            assert not is_fresh()
            await until(is_fresh, "the next check")
    await feed.close()


async def test_a_burst_of_changes_is_read_once(
    feed: ChangeFeed, snapshot: CountingSnapshot, connection: asyncpg.Connection
) -> None:
    snapshot.may_go_on.clear()
    for number in range(50):
        payload = f'{{"tenant_id": "bank-a", "number": {number}}}'
        await connection.execute("SELECT pg_notify($1, $2)", CHANGES_CHANNEL, payload)
        if number == 0:
            await loads_reach(snapshot, 2)
    snapshot.may_go_on.set()
    await loads_reach(snapshot, 3)
    await connection.execute('SELECT pg_notify($1, \'{"tenant_id": "bank-b"}\')', CHANGES_CHANNEL)
    await until(lambda: "bank-b" in snapshot.loads, "the later change is read")
    assert snapshot.loads[0] is None
    assert set(snapshot.loads[1:]) == {"bank-a", "bank-b"}
    assert len(snapshot.loads) < 10


@pytest.mark.parametrize(
    "payload", ["", "[1]", "nonsense", '{"tenant_id": 5}', '{"tenant_id": {"a": 1}}', '{"tenant_id": "A B"}']
)
async def test_a_notification_that_names_no_tenant_reloads_all_and_ends_nothing(
    feed: ChangeFeed,
    snapshot: CountingSnapshot,
    connection: "asyncpg.Connection[asyncpg.Record]",
    payload: str,
) -> None:
    """Any database role may send one."""
    [listening] = await connection.fetch(LISTENERS)
    snapshot.loads.clear()
    await connection.execute("SELECT pg_notify($1, $2)", CHANGES_CHANNEL, payload)
    await until(lambda: snapshot.loads, "a reload")
    assert snapshot.loads == [None]
    assert await connection.fetch(LISTENERS) == [listening]
