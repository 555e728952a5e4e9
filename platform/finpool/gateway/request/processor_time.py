"""The processor time that the parsing of one large body may take; other tenants wait for the same processor."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from finpool.gateway.request.options import fault

SECONDS_MAX = 0.5
"""A megabyte of tools with unusual schemas takes a third of a second."""


class _Thread(threading.local):
    ends_at: float | None = None


_thread = _Thread()


@contextmanager
def limited_processor_time(seconds_max: float = SECONDS_MAX) -> Iterator[None]:
    """Limit the processor time of this thread within the block."""
    _thread.ends_at = time.thread_time() + seconds_max
    try:
        yield
    finally:
        _thread.ends_at = None


def require_time_left() -> None:
    """Raise a fault if the time is over; called before each part that may take long."""
    if _thread.ends_at is not None and time.thread_time() > _thread.ends_at:
        raise fault("its schemas take too long to check; send fewer or simpler ones")
