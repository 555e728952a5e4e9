"""Three gateways sync through a real Postgres: standings, slots, one that dies, and a database that is away."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest

from finpool.catalogue.model.schemas import service_of
from finpool.gateway.peers.sync import LIVE_SECONDS, PeerSync
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.turn import Turn, Waiting
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId, TenantId

A, B, C = TenantId("bank-a"), TenantId("bank-b"), TenantId("bank-c")
ENGINE = "model_version"
SLOTS = 16
ASK = LengthBound(input_tokens_bound=16, output_tokens_bound=64)
ROUNDS_OF_A_SYNC = 12
OpenDatabase = Callable[[str], Database]


class FailingDatabase(Database):
    """A database that can be taken away."""

    away = False

    @asynccontextmanager
    async def across_tenants(self) -> AsyncIterator[Any]:
        """Open a transaction, unless the database is away."""
        if self.away:
            raise ConnectionRefusedError
        async with super().across_tenants() as session:
            yield session


class Gateway:
    """One replica: its queue before the engine, the turns under way there, and its peer sync."""

    def __init__(self, database: FailingDatabase, name: str) -> None:
        self.now = 0.0
        self.database = database
        self.scheduler = FairScheduler(SLOTS - 1, express_max=1)
        self.peer_sync = PeerSync(database, ReplicaId(name), clock=lambda: self.now)
        self.name = name
        self.peer_sync.join(ENGINE, self.scheduler)
        self.running: deque[tuple[Turn, TenantId, int, int]] = deque()

    @property
    def slots(self) -> int:
        """Requests that it may have under way."""
        return self.scheduler.in_flight_max + self.scheduler.express_max

    def keep_waiting(self, tenant_id: TenantId, output_tokens: int) -> None:
        """Ask until twice the engine's slots wait."""
        while self.scheduler.waiting(tenant_id) < 2 * SLOTS:
            begin = partial(self._begin, tenant_id, output_tokens)
            self.scheduler.arrive(tenant_id, Waiting(ASK, begin, batch=False))
            self.scheduler.dispatch()

    def round(self, served: Counter[TenantId]) -> None:
        """Let the engine make one token for each turn."""
        for _ in range(len(self.running)):
            turn, tenant_id, wanted, made = self.running.popleft()
            served[tenant_id] += service_of(0 if made else 16, 1)
            made += 1
            if made < wanted:
                self.scheduler.use(turn, input_tokens=16, output_tokens=made)
                self.running.append((turn, tenant_id, wanted, made))
            else:
                self.scheduler.end(turn, input_tokens=16, output_tokens=made)
                self.scheduler.dispatch()

    def _begin(self, tenant_id: TenantId, output_tokens: int, turn: Turn) -> None:
        self.running.append((turn, tenant_id, output_tokens, 0))


@pytest.fixture
async def owner(database: OpenDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The schema's owner, after it made the tenants."""
    connection = await database("owner").connect()
    try:
        for tenant_id in (A, B, C):
            await connection.execute("SELECT set_config('finpool.tenant_id', $1, false)", tenant_id)
            await connection.execute("INSERT INTO tenant VALUES ($1, $1, 'active', '{*}', 1, now())", tenant_id)
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def gateways(
    clean_postgres: EmbeddedPostgres, owner: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[list[Gateway]]:
    """Three gateways that have met."""
    url = clean_postgres.urls["inference"]
    made = [Gateway(FailingDatabase(url, connections_max=2), name) for name in ("one", "two", "three")]
    try:
        await all_sync(made, times=3)
        yield made
    finally:
        for gateway in made:
            await gateway.database.close()


async def all_sync(gateways: list[Gateway], times: int = 1) -> None:
    for _ in range(times):
        for gateway in gateways:
            await gateway.peer_sync.sync()


def every_slot_is_held(gateways: list[Gateway]) -> bool:
    """Tell whether the gateways hold all slots, except parts too small to move, and no slot twice."""
    return SLOTS - len(gateways) <= sum(each.slots for each in gateways) <= SLOTS


async def grow_old(owner: "asyncpg.Connection[asyncpg.Record]", gateway: Gateway) -> None:
    """Make it as if a gateway had not been heard of for too long."""
    query = "UPDATE gateway_slots SET seen_at = seen_at - interval '6 s' WHERE replica_id = $1"
    await owner.execute(query, gateway.name)


async def test_tenants_at_different_gateways_and_at_all_are_served_alike(gateways: list[Gateway]) -> None:
    served: Counter[TenantId] = Counter()
    for number in range(3000):
        for gateway in gateways:
            gateway.keep_waiting(A, 64)
        gateways[0].keep_waiting(B, 16)
        gateways[1].keep_waiting(C, 64)
        for gateway in gateways:
            gateway.round(served)
        if number % ROUNDS_OF_A_SYNC == 0:
            await gateways[number // ROUNDS_OF_A_SYNC % 3].peer_sync.sync()
            assert sum(each.slots for each in gateways) <= SLOTS
        if number == 500:
            served.clear()
    part = sum(served.values()) / 3
    assert served == {tenant_id: pytest.approx(part, rel=0.03) for tenant_id in (A, B, C)}


async def test_slots_go_where_requests_are_and_move_as_turns_end(gateways: list[Gateway]) -> None:
    gateways[0].keep_waiting(A, 64)
    await all_sync(gateways, times=2)
    assert [each.slots for each in gateways] == [SLOTS - 2, 1, 1]
    served: Counter[TenantId] = Counter()
    for _ in range(5):
        gateways[0].keep_waiting(A, 64)
        gateways[2].keep_waiting(B, 64)
        await all_sync(gateways)
        assert sum(each.scheduler.in_flight for each in gateways) <= SLOTS
        for _ in range(64):
            gateways[0].round(served)
            gateways[2].round(served)
    assert every_slot_is_held(gateways)
    assert gateways[2].slots >= SLOTS // 2 - 1


async def test_a_gateway_that_died_holds_its_slots_until_it_is_not_heard_of_and_then_no_more(
    gateways: list[Gateway], owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    dead, *living = gateways
    dead.keep_waiting(A, 64)
    await all_sync(gateways, times=3)
    living[0].keep_waiting(B, 64)
    await all_sync(living, times=3)
    assert living[0].slots <= SLOTS - dead.slots
    await grow_old(owner, dead)
    await all_sync(living, times=3)
    assert living[0].slots == SLOTS - 1
    await owner.execute("UPDATE gateway_slots SET seen_at = seen_at - interval '2 min' WHERE replica_id = 'one'")
    await all_sync(living)
    assert await owner.fetchval("SELECT count(DISTINCT run_id) FROM gateway_slots") == 2
    await owner.execute("SELECT set_config('finpool.tenant_id', $1, false)", A)
    assert await owner.fetchval("SELECT count(*) FROM gateway_share") == 0


async def test_a_gateway_that_stops_leaves_its_slots_at_once(
    gateways: list[Gateway], owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    stopping, *living = gateways
    await stopping.peer_sync.start()
    await stopping.peer_sync.close()
    await all_sync(living, times=3)
    assert sum(each.slots for each in living) == SLOTS
    assert await owner.fetchval("SELECT count(DISTINCT run_id) FROM gateway_slots") == 2


async def test_while_the_database_is_away_each_keeps_what_it_had_and_then_an_even_part_at_most(
    gateways: list[Gateway], owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    gateways[0].keep_waiting(A, 64)
    await all_sync(gateways, times=3)
    for gateway in gateways:
        gateway.database.away = True
    for seconds, slots in ((LIVE_SECONDS - 1, [SLOTS - 2, 1, 1]), (LIVE_SECONDS + 1, [SLOTS // 3, 1, 1])):
        for gateway in gateways:
            gateway.now = seconds
            with pytest.raises(ConnectionRefusedError):
                await gateway.peer_sync.sync()
        assert [each.slots for each in gateways] == slots
    for gateway in gateways:
        gateway.database.away = False
    await owner.execute("UPDATE gateway_slots SET seen_at = seen_at - interval '6 s'")
    served: Counter[TenantId] = Counter()
    for _ in range(64):
        gateways[0].round(served)
    for _ in range(4):
        await all_sync(gateways)
        assert sum(each.slots for each in gateways) <= SLOTS
    assert gateways[0].slots == SLOTS - 2


async def test_a_gateway_that_only_itself_lost_the_database_comes_back_as_a_new_run(
    gateways: list[Gateway], owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    cut_off, *living = gateways
    living[0].keep_waiting(B, 64)
    await grow_old(owner, cut_off)
    await all_sync(living, times=3)
    cut_off.now = LIVE_SECONDS + 1
    await cut_off.peer_sync.sync()
    assert cut_off.slots == 1
    served: Counter[TenantId] = Counter()
    for _ in range(2):
        for _ in range(64):
            living[0].round(served)
        await all_sync(gateways)
    assert every_slot_is_held(gateways)
    assert await owner.fetchval("SELECT count(DISTINCT run_id) FROM gateway_slots") == 3


async def test_a_gateway_that_was_killed_and_is_back_has_its_slots_at_once(
    gateways: list[Gateway], owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    killed, *living = gateways
    killed.keep_waiting(A, 64)
    await all_sync(gateways, times=3)
    again = Gateway(killed.database, killed.name)
    again.keep_waiting(A, 64)
    await all_sync([again, *living], times=3)
    assert again.slots == SLOTS - 2
    assert await owner.fetchval("SELECT count(DISTINCT run_id) FROM gateway_slots") == 3
