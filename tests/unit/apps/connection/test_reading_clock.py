"""The clock of a client that does not take its answer."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from finpool.apps.connection.reading_clock import READ_BYTES_MIN, ReadingClock


class Waiting:
    """A loop whose time passes by hand, and a transport with bytes that wait."""

    def __init__(self) -> None:
        self.bytes = 0
        self.aborted = False
        self._due: Callable[[], None] | None = None

    def call_later(self, _: float, call: Callable[[], None]) -> Any:
        self._due = call
        return self

    def cancel(self) -> None:
        self._due = None

    def get_write_buffer_size(self) -> int:
        return self.bytes

    def abort(self) -> None:
        self.aborted = True

    def time_passes(self) -> None:
        due, self._due = self._due, None
        if due is not None:
            due()


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def clock(waiting: Waiting) -> ReadingClock:
    return ReadingClock(cast(asyncio.AbstractEventLoop, waiting), cast(asyncio.Transport, waiting), 60)


def test_a_client_that_takes_its_answer_slowly_is_never_cut_off(waiting: Waiting, clock: ReadingClock) -> None:
    waiting.bytes = 10 * READ_BYTES_MIN
    clock.start()
    while waiting.bytes:
        waiting.bytes = max(0, waiting.bytes - READ_BYTES_MIN)
        waiting.time_passes()
    assert not waiting.aborted


@pytest.mark.parametrize("taken", [0, 60, READ_BYTES_MIN - 1])
def test_a_client_that_takes_a_byte_a_second_is_cut_off(waiting: Waiting, clock: ReadingClock, taken: int) -> None:
    waiting.bytes = 4 * READ_BYTES_MIN
    clock.start()
    waiting.bytes -= taken
    waiting.time_passes()
    assert waiting.aborted


def test_the_end_of_an_answer_has_the_time_of_the_clock(waiting: Waiting, clock: ReadingClock) -> None:
    waiting.bytes = 1
    clock.start()
    waiting.time_passes()
    assert waiting.aborted


def test_a_stopped_clock_cuts_nobody_off(waiting: Waiting, clock: ReadingClock) -> None:
    clock.start()
    waiting.time_passes()
    waiting.bytes = READ_BYTES_MIN
    clock.start()
    clock.stop()
    waiting.time_passes()
    assert not waiting.aborted
