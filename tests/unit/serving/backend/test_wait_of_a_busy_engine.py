"""A busy engine's client learns how long to wait: the engine's own wait, within bounds."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from finpool.kernel.clock import now
from finpool.serving.backend.reading import wait_ms
from finpool.serving.errors import BUSY_RETRY_MS_MAX, BUSY_RETRY_MS_MIN, EngineBusy


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"retry-after": b"7"}, 7_000),
        ({b"retry-after": b"0.25"}, 250),
        ({b"retry-after-ms": b"1234.5"}, 1_235),
        ({b"retry-after": b"9", b"retry-after-ms": b"120"}, 120),
        ({b"retry-after": b"9", b"retry-after-ms": b"soon"}, 9_000),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"\xff"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_from_either_header(headers: dict[bytes, bytes], expected: int | None) -> None:
    assert wait_ms(headers) == expected


def test_the_wait_may_be_a_date() -> None:
    date = format_datetime(now() + timedelta(seconds=90), usegmt=True).encode()
    found = wait_ms({b"retry-after": date})
    assert found is not None
    assert 60_000 < found <= 91_000


@pytest.mark.parametrize(
    ("wait", "seconds", "ms"),
    [(None, "1", 1_000), (2_500, "3", 2_500), (-5, "1", BUSY_RETRY_MS_MIN), (10**9, "600", BUSY_RETRY_MS_MAX)],
)
def test_the_client_gets_a_wait_within_bounds(wait: int | None, seconds: str, ms: int) -> None:
    assert EngineBusy(wait).headers == {"retry-after": seconds, "retry-after-ms": str(ms)}
