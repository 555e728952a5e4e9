"""The clock of one thread: how long it computed, and how long it only waited for a processor."""

import os
import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """Nanoseconds since any fixed moment; a difference of two readings tells about the time between them."""

    at_ns: int
    computed_ns: int
    computed_by_process_ns: int
    preempted_ns: int
    """The time for which the thread was ready and other threads or processes had the processors."""


class ThreadClock:
    """The clock of the thread that makes it; only that thread may read it.

    The kernel counts the wait for a processor in `schedstat`, field 2. A machine without it counts none.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        self._schedstat = os.open(path, os.O_RDONLY) if os.path.exists(path) else None

    def read(self) -> Reading:
        """Return the times now."""
        preempted = 0 if self._schedstat is None else int(os.pread(self._schedstat, 64, 0).split()[1])
        return Reading(time.perf_counter_ns(), time.thread_time_ns(), time.process_time_ns(), preempted)

    def close(self) -> None:
        """Close the kernel's file."""
        if self._schedstat is not None:
            os.close(self._schedstat)
