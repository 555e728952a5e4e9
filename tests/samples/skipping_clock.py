"""The clock of the product's own waits: a test lets time pass without waiting for it."""

import time
from types import SimpleNamespace

import pytest


class SkippingClock:
    """The monotonic clock and all that was skipped on it."""

    def __init__(self) -> None:
        self._skipped_seconds = 0.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return time.monotonic() + self._skipped_seconds

    def skip(self, seconds: float) -> None:
        """Let so many seconds have passed."""
        self._skipped_seconds += seconds


def skip_time(monkeypatch: pytest.MonkeyPatch) -> SkippingClock:
    """Let the product read a clock on which the test can skip time."""
    clock = SkippingClock()
    monkeypatch.setattr("finpool.kernel.clock.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock
