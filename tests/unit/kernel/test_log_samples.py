"""Events that anybody can cause in numbers leave few lines and their sum."""

import asyncio
import logging

import pytest

from finpool.kernel.log_samples import REASONS_MAX, LogSamples, Reason, SampledRecords


@pytest.fixture
def sums() -> dict[Reason, int]:
    return {}


@pytest.fixture
def samples(sums: dict[Reason, int]) -> LogSamples:
    return LogSamples(sums.__setitem__)


def test_the_first_of_each_reason_pass_and_the_others_are_summed(samples: LogSamples, sums: dict[Reason, int]) -> None:
    passed = [samples.take((reason,), 3) for reason in ("a", "b") for _ in range(100)]
    assert passed.count(True) == 6
    samples.end()
    assert sums == {("a",): 97, ("b",): 97}


def test_each_window_begins_anew(samples: LogSamples, sums: dict[Reason, int]) -> None:
    assert [samples.take(("a",), 1), samples.take(("a",), 1)] == [True, False]
    samples.end()
    assert samples.take(("a",), 1)
    samples.end()
    assert sums == {("a",): 1}


def test_reasons_without_end_take_bounded_memory(samples: LogSamples, sums: dict[Reason, int]) -> None:
    passed = [samples.take((number,), 1) for number in range(3 * REASONS_MAX)]
    assert passed.count(True) == REASONS_MAX + 1
    samples.end()
    assert sums == {("other",): 2 * REASONS_MAX - 1}


async def test_the_sum_is_logged_when_the_window_ends_even_if_nothing_follows() -> None:
    summed: asyncio.Future[tuple[Reason, int]] = asyncio.get_running_loop().create_future()
    samples = LogSamples(lambda reason, count: summed.set_result((reason, count)), window_seconds=0.01)
    while samples.take(("a",), 1):
        pass
    async with asyncio.timeout(10):
        reason, count = await summed
    assert (reason, count) == (("a",), 1)


def test_equal_records_of_a_library_are_summed(caplog: pytest.LogCaptureFixture) -> None:
    sampled = SampledRecords()
    log = logging.getLogger("a.library")
    records = [log.makeRecord("a.library", logging.WARNING, "", 0, "no %s", (n,), None) for n in range(1000)]
    assert [sampled.filter(record) for record in records].count(True) == 20
    with caplog.at_level(logging.WARNING):
        sampled._samples.end()
    assert [record.getMessage() for record in caplog.records] == ["no %s (980 more)"]
