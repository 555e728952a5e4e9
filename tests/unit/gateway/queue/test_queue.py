"""The fair queue: few in flight, nobody starved, nothing lost when clients leave."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finpool.gateway.errors import QueueRefusal
from finpool.gateway.queue.fair_scheduler import FairScheduler
from finpool.gateway.queue.length_prediction import LengthBound
from finpool.gateway.queue.queue import FairQueue
from finpool.kernel.ids import TenantId

A, B, C = TenantId("bank-a"), TenantId("bank-b"), TenantId("bank-c")


ASK = LengthBound(input_tokens_bound=0, output_tokens_bound=100)


def make(
    in_flight_max: int = 1,
    waiting_max: int = 1000,
    wait_seconds_max: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> FairQueue:
    return FairQueue(
        FairScheduler(in_flight_max, **options), waiting_max=waiting_max, wait_seconds_max=wait_seconds_max, clock=clock
    )


@asynccontextmanager
async def turn(queue: FairQueue, tenant_id: TenantId, tokens: int = 0, batch: bool = False) -> AsyncIterator[None]:
    taken = await queue.enter(tenant_id, ASK, batch=batch)
    try:
        yield
    finally:
        queue.leave(taken, input_tokens=0, output_tokens=tokens)


async def serve(
    queue: FairQueue, tenant_id: TenantId, served: list[TenantId], tokens: int = 10, batch: bool = False
) -> None:
    async with turn(queue, tenant_id, tokens, batch):
        served.append(tenant_id)
        await asyncio.sleep(0)


async def test_a_flood_of_one_tenant_does_not_hold_up_another() -> None:
    queue, served = make(), list[TenantId]()
    flood = [asyncio.create_task(serve(queue, A, served)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(*(serve(queue, B, served) for _ in range(5)), *flood)
    # From its arrival on, B is served in every other turn.
    assert served.index(B) <= 2
    assert Counter(served[: 2 + 10])[B] >= 4


async def test_tenants_get_the_same_service_whatever_their_answers_length() -> None:
    queue, served = make(), list[TenantId]()
    long = [asyncio.create_task(serve(queue, A, served, tokens=80)) for _ in range(20)]
    short = [asyncio.create_task(serve(queue, B, served, tokens=10)) for _ in range(160)]
    await asyncio.gather(*long, *short)
    first = Counter(served[:90])
    assert abs(first[A] * 80 - first[B] * 10) <= 2 * 80


async def test_a_pause_saves_up_no_claim() -> None:
    queue, served = make(), list[TenantId]()
    await asyncio.gather(*(serve(queue, A, served) for _ in range(100)))
    served.clear()
    again = [asyncio.create_task(serve(queue, A, served)) for _ in range(20)]
    late = [asyncio.create_task(serve(queue, B, served)) for _ in range(20)]
    await asyncio.gather(*again, *late)
    assert abs(Counter(served[:20])[A] - Counter(served[:20])[B]) <= 2


async def test_a_full_queue_and_a_long_wait_are_refused() -> None:
    queue = make(waiting_max=1, wait_seconds_max=0.02)
    async with turn(queue, A):
        waiting = asyncio.create_task(serve(queue, A, []))
        await asyncio.sleep(0)
        with pytest.raises(QueueRefusal, match="waiting"):
            await serve(queue, A, [])
        with pytest.raises(QueueRefusal, match="busy"):
            await waiting


async def test_a_refusal_says_how_long_one_more_would_wait_by_the_pace_of_the_last_turns() -> None:
    now = 0.0
    queue = make(in_flight_max=2, waiting_max=3, clock=lambda: now)
    for _ in range(40):
        taken = await queue.enter(A, ASK)
        now += 4.0
        queue.leave(taken, input_tokens=0, output_tokens=10)
    tasks = [asyncio.create_task(queue.enter(A, ASK)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(QueueRefusal) as refused:
        await queue.enter(A, ASK)
    # Three wait already, two are served at once for four seconds each, and nobody else is there.
    assert refused.value.headers == {"retry-after-ms": "8000", "retry-after": "8"}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_batch_requests_wait_for_interactive_ones_of_everybody_but_not_for_ever() -> None:
    queue, served = make(), list[TenantId]()
    async with turn(queue, C):
        batch = [asyncio.create_task(serve(queue, A, served, batch=True)) for _ in range(3)]
        await asyncio.sleep(0)
        interactive = [asyncio.create_task(serve(queue, B, served)) for _ in range(57)]
        await asyncio.sleep(0)
    await asyncio.gather(*batch, *interactive)
    assert [number for number, tenant_id in enumerate(served) if tenant_id == A] == [19, 39, 59]


async def test_a_tenant_with_nothing_under_way_does_not_wait_for_anothers_long_answer() -> None:
    queue = make(in_flight_max=2, express_max=1)
    flood = [asyncio.create_task(queue.enter(A, ASK)) for _ in range(6)]
    await asyncio.sleep(0)
    assert [task.done() for task in flood] == [True, True, False, False, False, False]
    async with asyncio.timeout(1), turn(queue, B):
        second = asyncio.create_task(queue.enter(B, ASK))
        await asyncio.sleep(0)
        assert not second.done()
        second.cancel()
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.integers(0, 5)), max_size=40),
    st.integers(1, 4),
)
def test_whoever_leaves_every_slot_comes_back(arrivals: list[tuple[str, bool, int]], in_flight_max: int) -> None:
    async def run() -> None:
        queue, in_flight, most = make(in_flight_max), 0, 0

        async def one(tenant_id: str, ticks: int) -> None:
            nonlocal in_flight, most
            async with turn(queue, TenantId(tenant_id)):
                in_flight += 1
                most = max(most, in_flight)
                try:
                    for _ in range(ticks):
                        await asyncio.sleep(0)
                finally:
                    in_flight -= 1

        tasks = []
        for tenant_id, leaves, ticks in arrivals:
            task = asyncio.create_task(one(tenant_id, ticks))
            tasks.append(task)
            for _ in range(ticks % 3):
                await asyncio.sleep(0)
            if leaves:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= in_flight_max
        async with asyncio.timeout(1):
            await asyncio.gather(*(one("z", 1) for _ in range(in_flight_max)))

    asyncio.run(run())


async def test_a_queue_without_any_slot_still_estimates_a_wait() -> None:
    queue = make(in_flight_max=0, waiting_max=0)
    with pytest.raises(QueueRefusal) as refused:
        await queue.enter(A, ASK)
    assert refused.value.headers["retry-after-ms"]
