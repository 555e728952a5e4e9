"""Processes of the platform that tests may kill, forked from one that has loaded everything: they start at once."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "faultrun" / "fault_launch.py"
END_SECONDS_MAX = 60


class Launcher:
    """The process that forks all others; when it ends, they do."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, order: dict[str, object]) -> int:
        """Start a process; returns its id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def running(self, pid: int) -> bool:
        """Tell whether a process that was started here still runs."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        state, parent = stat.rpartition(")")[2].split()[:2]
        return int(parent) == self._process.pid and state != "Z"

    def end(self, pid: int, number: signal.Signals) -> None:
        """Send a signal, if the process still runs, and wait until it is gone."""
        if not self.running(pid):
            return
        process = os.pidfd_open(pid)
        try:
            os.kill(pid, number)
            if not select.select([process], [], [], END_SECONDS_MAX)[0]:
                raise TimeoutError(f"process {pid} did not end after {number.name}")
        finally:
            os.close(process)

    def close(self) -> None:
        """End it and all that it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def launched() -> Iterator[Launcher]:
    """Keep a launcher until the block ends."""
    launcher = Launcher()
    try:
        yield launcher
    finally:
        launcher.close()


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """One launcher for all tests of this process that start gateways or workers."""
    with launched() as started:
        yield started
