"""Every history of claims of two gateways agrees with a model: one holder of a key, and one answer for its life."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inference_path import QUOTE

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.gateway.call.admission import Admitted
from finpool.gateway.idempotency.errors import (
    IdempotencyKeyReused,
    IdempotencyUnavailable,
    IdempotentRequestRunning,
)
from finpool.gateway.idempotency.purge import purge_expired
from finpool.gateway.idempotency.room import IdempotencyBounds
from finpool.gateway.idempotency.service import Idempotency, KeyClaim
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ProjectId, ReplicaId, RequestId, TenantId
from finpool.quota.reservation.service import Quota
from finpool.serving.schemas import Operation

BANK = TenantId("bank-a")
ACTOR = Actor(Audience.TENANT, "key_1", Role.TENANT_OWNER, BANK, ProjectId("main"))
MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
KEYS, BODIES, GATEWAYS = ("a", "b"), (b'{"n": 1}', b'{"n": 2}'), (0, 1)
ROOMY = IdempotencyBounds(keys_max=1000, tenant_bytes_max=10**9, answer_bytes_max=10**6)

Step = tuple[str, int, int, int]
Steps = st.lists(
    st.tuples(
        st.sampled_from(
            ("claim", "claim", "claim", "keep", "keep", "free", "die", "expire", "beat", "restart", "purge")
        ),
        st.sampled_from((0, 0, 0, 1)),
        st.integers(0, 3),
        st.integers(0, 1),
    ),
    max_size=16,
)


class FreeQuota:
    """A quota without limits."""

    async def reserve(self, *_: Any, **__: Any) -> None:
        return None

    def release(self, *_: Any, **__: Any) -> None:
        return None


def admitted(request_id: str) -> Admitted:
    return Admitted(
        operation=Operation.CHAT,
        request_id=RequestId(request_id),
        actor=ACTOR,
        model=MODEL,
        quote=QUOTE,
        policy_version=1,
        streamed=False,
        engine_body={},
        input_tokens_bound=1,
        output_tokens_bound=1,
    )


@dataclass
class Row:
    """The model of one key."""

    claim: KeyClaim
    body: bytes
    gateway: int
    answer: bytes | None = None
    held: bool = True
    alive: bool = True

    @property
    def free(self) -> bool:
        return not self.alive or (self.answer is None and not self.held)


@dataclass
class History:
    """Two gateways on one database, and the model of its rows."""

    urls: dict[str, str]
    owner: "asyncpg.Connection[asyncpg.Record]"
    gateways: list[Idempotency]
    rows: dict[str, Row] = field(default_factory=dict)
    claims: list[tuple[str, KeyClaim]] = field(default_factory=list)

    async def claim(self, key: str, body: bytes, gateway: int) -> None:
        service, row, request_id = self.gateways[gateway], self.rows.get(key), f"req_{len(self.claims)}_{key}"
        identity = service.identify(ACTOR, key, "/v1/chat/completions", body)
        expected: Any = KeyClaim
        if row is not None and not row.free:
            expected = IdempotencyKeyReused if row.body != body else row.answer or IdempotentRequestRunning
        try:
            found: Any = await service.claim(admitted(request_id), identity)
        except (IdempotencyKeyReused, IdempotentRequestRunning) as refusal:
            found = type(refusal)
        if isinstance(found, KeyClaim):
            assert expected is KeyClaim
            self.rows[key] = Row(found, body, gateway)
            self.claims.append((key, found))
        else:
            assert found == expected

    async def keep(self, nth: int, gateway: int) -> None:
        """Keep an answer of one of the last claims, perhaps of a gateway that lost the key long ago."""
        if not self.claims:
            return
        key, claim = self.claims[-1 - nth % len(self.claims)]
        row, answer = self.rows.get(key), f"answer of {claim.request_id}".encode()
        holds = row is not None and row.claim.request_id == claim.request_id and row.answer is None
        try:
            await self.gateways[gateway].keep(claim, answer)
        except IdempotencyUnavailable:
            assert not holds
        else:
            assert holds
            assert row is not None
            row.answer = answer

    async def free(self, nth: int, gateway: int) -> None:
        if not self.claims:
            return
        key, claim = self.claims[-1 - nth % len(self.claims)]
        await self.gateways[gateway].free(claim)
        if key in self.rows and self.rows[key].claim.request_id == claim.request_id:
            del self.rows[key]

    async def change(self, key: str, columns: str) -> None:
        row = self.rows[key]
        query = f"UPDATE idempotent_request SET {columns} WHERE key_digest = $1"
        await self.owner.execute(query, row.claim.identity.key_digest)

    async def take(self, step: Step) -> None:
        action, first, second, gateway = step
        key, body = KEYS[first], BODIES[second % 2]
        if action == "claim":
            await self.claim(key, body, gateway)
        elif action in ("keep", "free"):
            await (self.keep if action == "keep" else self.free)(second, gateway)
        elif action == "die" and key in self.rows:
            await self.change(key, "claimed_at = now() - interval '1 h', held_until = now() - interval '1 s'")
            self.rows[key].held = False
        elif action == "expire" and key in self.rows:
            await self.change(key, "claimed_at = now() - interval '25 h', expires_at = now() - interval '1 s'")
            self.rows[key].alive = False
        elif action == "beat":
            await self.gateways[gateway].beat()
            for row in self.rows.values():
                row.held = row.held or (row.gateway == gateway and row.answer is None)
        elif action == "restart":
            await self.gateways[gateway].close()
            self.gateways[gateway] = await started(self.urls, gateway)
            mine = [key for key, row in self.rows.items() if row.gateway == gateway and row.answer is None]
            for each in mine:
                del self.rows[each]
        elif action == "purge":
            worker = Database(self.urls["worker"], connections_max=1)
            assert await purge_expired(worker) == sum(not row.alive for row in self.rows.values())
            await worker.close()
            self.rows = {key: row for key, row in self.rows.items() if row.alive}


async def started(urls: dict[str, str], gateway: int, bounds: IdempotencyBounds = ROOMY) -> Idempotency:
    database = Database(urls["inference"], connections_max=2)
    service = Idempotency(database, ReplicaId(f"replica-{gateway}"), b"p" * 64, cast(Quota, FreeQuota()), bounds)
    await service.start()
    return service


async def replay(urls: dict[str, str], steps: list[Step]) -> None:
    owner = await asyncpg.connect(urls["owner"])
    await owner.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    await owner.execute("DELETE FROM idempotent_request")
    await owner.execute("INSERT INTO tenant VALUES ('bank-a', 'A', 'active', '{*}', 1, now()) ON CONFLICT DO NOTHING")
    history = History(urls, owner, [await started(urls, gateway) for gateway in GATEWAYS])
    try:
        for step in steps:
            await history.take(step)
        for gateway in GATEWAYS:  # At the end both give the same answer, after any history.
            for key, body in ((key, row.body) for key, row in list(history.rows.items()) if row.answer and row.alive):
                await history.claim(key, body, gateway)
    finally:
        for each in history.gateways:
            await each.close()
        await owner.close()


def test_every_history_of_two_gateways_agrees_with_the_model(clean_postgres: EmbeddedPostgres) -> None:
    @settings(max_examples=80, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(Steps)
    def agrees(steps: list[Step]) -> None:
        asyncio.run(replay(clean_postgres.urls, steps))

    agrees()
