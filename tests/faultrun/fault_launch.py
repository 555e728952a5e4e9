"""Starts the platform's processes for tests that kill them: loaded once and forked for each, so a start takes no time.

Reads one order a line (JSON) and answers with the new process's id. A process is the product's own, untouched but for
its clock, which follows a file, and for the planted bugs that the order names.
"""

import datetime as dt
import importlib
import json
import os
import signal
import struct
import sys
import time
from typing import Any

SKEW_FORMAT = "<d"


def skew_clock(path: str) -> None:
    """Let the product's clock go wrong by as many seconds as the file at `path` holds at each moment."""
    clock = importlib.import_module("finpool.kernel.clock")
    descriptor = os.open(path, os.O_RDONLY)
    true_time = time.time

    def skewed_time() -> float:
        return true_time() + float(struct.unpack(SKEW_FORMAT, os.pread(descriptor, 8, 0))[0])

    class SkewedDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "SkewedDatetime":
            return cls.fromtimestamp(skewed_time(), tz)

    time.time = skewed_time
    vars(clock)["datetime"] = SkewedDatetime


def serve_process(component: str) -> int:
    """Serve as `finpool serve` does; returns the exit code."""
    serve = importlib.import_module("finpool.cli.serve")
    settings = importlib.import_module("finpool.kernel.settings").Settings()
    if component == "worker":
        return int(serve.run_process(component, settings))
    serve.serve_door(component, settings, settings.port, serve.DRAIN_SECONDS)
    return 0


def run(order: dict[str, Any]) -> None:
    """Become the process that was ordered; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["environment"])
    if order["skew"]:
        skew_clock(order["skew"])
    for plant in order["plants"]:
        getattr(importlib.import_module("planted_bugs"), plant)()
    code = 1
    try:
        code = serve_process(order["component"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Fork a process for each order until the input ends; then kill the processes that still run."""
    for module in ("apps.inference", "apps.worker", "cli.serve", "apps.http_limits"):
        importlib.import_module(f"finpool.{module}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    started = []
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(order)
        started.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in started:
        if running(pid):
            os.kill(pid, signal.SIGKILL)


def running(pid: int) -> bool:
    """Tell whether a process that was started here still runs; its id is not given to another while we do."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            parent = int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return parent == os.getpid()


if __name__ == "__main__":
    main()
