"""Events that anybody can cause in numbers: the first of each reason are logged one by one, the others as a sum."""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from finpool.kernel.clock import monotonic_seconds

WINDOW_SECONDS = 60.0
REASONS_MAX = 1_000
"""Reasons that one window tells apart; any others count as one."""

RECORDS_OF_A_LIBRARY = 20
"""Equal log records of a library that one window passes on."""

Reason = tuple[Any, ...]
OTHER: Reason = ("other",)


class LogSamples:
    """Counts events by reason, and hands the sums to `summarise` at the end of each window."""

    def __init__(self, summarise: Callable[[Reason, int], None], window_seconds: float = WINDOW_SECONDS) -> None:
        self._summarise = summarise
        self._window_seconds = window_seconds
        # The sums are no part of the request that happens to end the window, so they get the context of the start.
        self._context = contextvars.copy_context()
        self._seen: dict[Reason, int] = {}
        self._withheld: dict[Reason, int] = {}
        self._ends_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, reason: Reason, most: int) -> bool:
        """Tell whether to log this event by itself: it is among the first `most` of its reason in this window."""
        at = monotonic_seconds()
        if at >= self._ends_at:
            self.end()
            self._ends_at = at + self._window_seconds
        if reason not in self._seen and len(self._seen) >= REASONS_MAX:
            reason = OTHER
        seen = self._seen[reason] = self._seen.get(reason, 0) + 1
        if seen <= most:
            return True
        self._withheld[reason] = self._withheld.get(reason, 0) + 1
        if self._timer is None:
            self._end_later(self._ends_at - at)
        return False

    def end(self) -> None:
        """End the window: log the sums, and begin to count anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        withheld, self._withheld, self._seen, self._ends_at = self._withheld, {}, {}, 0.0
        for reason, count in withheld.items():
            self._context.copy().run(self._summarise, reason, count)

    def _end_later(self, seconds: float) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # Without a loop the first event of the next window ends this one.
            return
        self._timer = loop.call_later(seconds, self.end)


class SampledRecords(logging.Filter):
    """Passes the first equal records of a library on, and logs the sum of the others."""

    def __init__(self) -> None:
        super().__init__()
        self._samples = LogSamples(self._summarise)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log the record; those of one message count as equal, with any arguments."""
        if getattr(record, "count_withheld", None) is not None:
            return True
        return self._samples.take((record.name, record.levelno, str(record.msg)), RECORDS_OF_A_LIBRARY)

    @staticmethod
    def _summarise(reason: Reason, count: int) -> None:
        name, level, message = reason if reason != OTHER else ("root", logging.WARNING, "other records")
        logging.getLogger(name).log(level, "%s (%d more)", message, count, extra={"count_withheld": count})
