"""SIGTERM ends a process in time, with a silent trace collector, too, and sends the last figures to it."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from waiting import until_now

from finpool.kernel.telemetry import END_SECONDS_MAX
from finpool.metering.spool import file as spool_file

DRAIN_SECONDS = 10
END_SECONDS = DRAIN_SECONDS + END_SECONDS_MAX
SLACK_SECONDS = 3
"""The end of Python itself, on a busy machine; the exporters alone took 17 seconds before they were bounded."""


@contextmanager
def silent_collector() -> Iterator[tuple[str, socket.socket]]:
    """Take connections and never answer."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", listening


@contextmanager
def process(name: str, home: Path, port: int, collector: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process of the platform without a database; yields it once it runs."""
    (home / "secrets").mkdir(exist_ok=True)
    (home / "secrets" / "key_pepper").write_text("p" * 64)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("FINPOOL_")},
        "FINPOOL_HOME": str(home),
        "FINPOOL_PORT": str(port),
        "FINPOOL_OTLP_ENDPOINT": collector,
        **{f"FINPOOL_{role}_DATABASE_URL": "postgresql://127.0.0.1:1/none" for role in ("WORKER", "OPERATOR")},
    }
    command = [sys.executable, "-m", "finpool.cli.main", "serve", name]
    with subprocess.Popen(command, env=environment, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True) as run:
        try:
            yield run
        finally:
            run.kill()


def ends_at_sigterm(run: subprocess.Popen[str]) -> int:
    """Send SIGTERM and return the exit code; fail if the process takes longer than it may."""
    run.send_signal(signal.SIGTERM)
    return run.wait(END_SECONDS + SLACK_SECONDS)


def wait_for_line(run: subprocess.Popen[str], text: str) -> None:
    assert run.stdout is not None
    for line in run.stdout:
        if text in line:
            return
    pytest.fail(f"{text!r} was not logged")


def listens(run: subprocess.Popen[str], port: int) -> bool:
    """Tell whether this process listens; another test's process may have the port after the free one for a while."""
    found = psutil.Process(run.pid).net_connections("tcp")
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found)


@pytest.fixture
def spooled(tmp_path: Path) -> Path:
    """Return a home with a spool, whose lag the worker exports."""
    spool_file.connect(tmp_path / "spool").close()
    return tmp_path


def test_the_worker_ends_in_time_and_sends_its_figures_to_a_silent_collector(spooled: Path, free_port: int) -> None:
    with silent_collector() as (url, listening), process("worker", spooled, free_port, url) as run:
        wait_for_line(run, "worker started")
        assert ends_at_sigterm(run) == 0
        assert select.select([listening], [], [], 0)[0], "nothing was sent to the collector"
        sent, _ = listening.accept()
        with closing(sent):
            assert sent.recv(100).startswith(b"POST /v1/metrics")


def test_the_worker_ends_in_time_when_its_collector_is_gone(spooled: Path, free_port: int) -> None:
    with silent_collector() as (url, listening):
        listening.close()
        with process("worker", spooled, free_port, url) as run:
            wait_for_line(run, "worker started")
            assert ends_at_sigterm(run) == 0


def test_a_door_ends_well_at_sigterm(tmp_path: Path, free_port: int) -> None:
    with silent_collector() as (url, _), process("operator", tmp_path, free_port, url) as run:
        until_now(lambda: listens(run, free_port + 1), "the door listens")
        assert ends_at_sigterm(run) == 0
