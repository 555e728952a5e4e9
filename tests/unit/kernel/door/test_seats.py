"""Seats at a door: a caller's bound, the round among waiting callers, and the refusals."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from waiting import until

from finpool.kernel.door.seats import FairSeats
from finpool.kernel.errors import TooManyAtOnce


def seats(
    of_one_max: int = 2, seats_max: int | None = None, waiting_max: int = 8, wait_seconds_max: float = 60
) -> FairSeats:
    return FairSeats(
        of_one_max=of_one_max,
        seats_max=seats_max,
        waiting_max=waiting_max,
        wait_seconds_max=wait_seconds_max,
        refusal=lambda why: TooManyAtOnce("requests", why, 1),
    )


class Requests:
    """Requests that hold a seat until they are told to end, and the order in which they got it."""

    def __init__(self, at: FairSeats) -> None:
        self.at = at
        self.got: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, caller: str, name: str) -> asyncio.Task[None]:
        """Begin a request; it has a seat or waits when this returns."""
        self._ends[name] = asyncio.Event()
        before = self.at.waiting_of(caller)
        task = asyncio.create_task(self._run(caller, name))
        self._tasks.append(task)
        await until(lambda: name in self.got or self.at.waiting_of(caller) > before or task.done(), "it has begun")
        return task

    async def end(self, name: str) -> None:
        """End a request that has a seat."""
        got = len(self.got)
        self._ends[name].set()
        await until(lambda: self._ends[name].is_set() and name not in self.in_progress, "it has ended")
        if self.at.waiting_of("c") or self.at.waiting_of("b"):
            await until(lambda: len(self.got) > got, "the next has its seat")

    @property
    def in_progress(self) -> list[str]:
        return [name for name in self.got if not self._ends[name].is_set()]

    async def _run(self, caller: str, name: str) -> None:
        async with self.at.seat(caller):
            self.got.append(name)
            await self._ends[name].wait()

    async def close(self) -> None:
        for end in self._ends.values():
            end.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_a_caller_at_its_bound_waits_while_another_gets_a_seat_at_once() -> None:
    requests = Requests(seats(of_one_max=2))
    for name in ("c1", "c2", "c3"):
        await requests.begin("c", name)
    await requests.begin("b", "b1")
    assert requests.got == ["c1", "c2", "b1"]
    await requests.end("c1")
    assert requests.got == ["c1", "c2", "b1", "c3"]
    await requests.close()
    assert requests.at.held_by("c") == requests.at.held_by("b") == 0


async def test_free_seats_go_round_the_waiting_callers_and_not_by_arrival() -> None:
    requests = Requests(seats(of_one_max=2, seats_max=2))
    for name in ("c1", "c2", "c3", "c4", "c5"):
        await requests.begin("c", name)
    for name in ("b1", "b2"):
        await requests.begin("b", name)
    assert requests.got == ["c1", "c2"]
    for name in ("c1", "c2", "c3", "b1"):
        await requests.end(name)
    assert requests.got == ["c1", "c2", "c3", "b1", "c4", "b2"], "a long queue delays its own caller only"
    await requests.close()


async def test_a_full_queue_refuses_with_a_time_to_retry_and_nobody_else() -> None:
    requests = Requests(seats(of_one_max=1, waiting_max=1))
    await requests.begin("c", "c1")
    await requests.begin("c", "c2")
    with pytest.raises(TooManyAtOnce) as refused:
        async with requests.at.seat("c"):
            pass
    assert refused.value.headers["retry-after"] == "1"
    assert "1 are in progress and 1 are waiting" in refused.value.message
    async with requests.at.seat("b"):
        assert requests.at.held_by("b") == 1
    await requests.close()


async def test_a_request_that_waits_too_long_is_refused_and_leaves_its_queue() -> None:
    at = seats(of_one_max=1, wait_seconds_max=0.01)
    async with at.seat("c"):
        with pytest.raises(TooManyAtOnce, match=r"none became free within 0\.01 seconds"):
            async with at.seat("c"):
                pass
        assert at.waiting_of("c") == 0
    assert at.held_by("c") == 0


async def test_a_request_that_is_cancelled_gives_its_place_to_the_next() -> None:
    requests = Requests(seats(of_one_max=1))
    await requests.begin("c", "c1")
    cancelled = await requests.begin("c", "c2")
    await requests.begin("c", "c3")
    cancelled.cancel()
    await requests.end("c1")
    assert requests.got == ["c1", "c3"]
    await requests.close()
    assert requests.at.held_by("c") == 0


async def test_a_seat_that_reaches_a_request_at_its_cancellation_is_not_lost() -> None:
    at = seats(of_one_max=1)
    async with AsyncExitStack() as first:
        await first.enter_async_context(at.seat("c"))
        waiting = asyncio.create_task(first_seat(at))
        await until(lambda: at.waiting_of("c"), "it waits")
    waiting.cancel()  # It has been given the seat, and has not run since.
    await asyncio.gather(waiting, return_exceptions=True)
    assert at.held_by("c") == 0


async def first_seat(at: FairSeats) -> None:
    async with at.seat("c"):
        await asyncio.Event().wait()
