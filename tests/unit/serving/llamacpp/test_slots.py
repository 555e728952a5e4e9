"""The slots of llama.cpp: nobody is passed for ever, and a half computed prompt is never another one's choice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from finpool.serving.llamacpp.slots import PartialPrompts, Slots


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Requests:
    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.running: dict[str, int] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, tenant: str, count: int = 1) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, tenant, count))
        await settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await settled()

    async def leave(self, name: str) -> None:
        self._tasks[name].cancel()
        await settled()

    async def _run(self, name: str, tenant: str, count: int) -> None:
        async with self._slots.taken(tenant, count) as slot:
            self.running[name] = slot
            await self._ends[name].wait()
            del self.running[name]


async def test_a_request_of_several_choices_gets_its_slots_though_others_keep_asking() -> None:
    requests = Requests(Slots(3))
    for name in ("one", "two"):
        await requests.start(name, "C")
    await requests.start("choices", "D", 2)
    await requests.start("three", "C")  # It would fit, and waits behind the earlier one.
    assert requests.running.keys() == {"one", "two"}
    await requests.end("one")
    assert requests.running.keys() == {"two", "choices"}


async def test_a_tenant_without_a_slot_passes_a_request_that_waits_for_several() -> None:
    requests = Requests(Slots(3))
    for name in ("one", "two"):
        await requests.start(name, "C")
    await requests.start("choices", "C", 3)
    await requests.start("newcomer", "B")
    assert "newcomer" in requests.running
    await requests.start("more of it", "B")
    assert "more of it" not in requests.running


async def test_no_two_requests_share_a_slot_and_a_request_that_left_gets_none() -> None:
    requests = Requests(Slots(2))
    for name in ("one", "two", "left", "three"):
        await requests.start(name, "C")
    assert set(requests.running.values()) == {0, 1}
    await requests.leave("left")
    await requests.end("one")
    assert requests.running.keys() == {"two", "three"}


@asynccontextmanager
async def part(partial: PartialPrompts) -> AsyncIterator[None]:
    await partial.enter()
    yield
    partial.leave()


async def test_choices_begin_only_while_no_other_prompt_is_partly_computed() -> None:
    partial, order = PartialPrompts(), list[str]()

    async def choices() -> None:
        await partial.enter_alone()
        order.append("choices")
        await settled()
        partial.leave_alone()

    async def later() -> None:
        async with part(partial):
            order.append("later")

    async with part(partial):
        tasks = [asyncio.create_task(each()) for each in (choices, later)]
        await settled()
        order.append("first ended")
    await asyncio.gather(*tasks)
    assert order == ["first ended", "choices", "later"]
