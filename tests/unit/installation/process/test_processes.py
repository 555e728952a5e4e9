"""Processes are recorded so that exactly they are ended, and nobody else."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import until_now

from finpool.installation.home.home import Home
from finpool.installation.process.processes import (
    Stopped,
    last_log_line,
    log_path,
    running_process,
    start_process,
    stop_process,
)

SLEEPS = [sys.executable, "-c", "import time; print('working', flush=True); time.sleep(60)"]
IGNORES_SIGTERM = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.prepare()
    return home


def start(home: Home, name: str, command: list[str]) -> int:
    pid = start_process(home, name, command, {"PATH": os.environ["PATH"], "ONLY": "this"}, 8000).pid
    while not last_log_line(home, name) and running_process(home, name):
        pass
    return pid


def reap(pid: int) -> None:
    """Collect the exit status: in a test the started process is this one's child."""
    os.waitpid(pid, 0)


def test_a_started_process_runs_until_it_is_stopped(home: Home) -> None:
    pid = start(home, "door", SLEEPS)
    record = running_process(home, "door")
    assert record is not None
    assert (record.pid, record.port) == (pid, 8000)
    assert last_log_line(home, "door") == "working"
    assert stop_process(home, "door", timeout_seconds=30) is Stopped.ENDED
    assert running_process(home, "door") is None
    assert stop_process(home, "door", timeout_seconds=30) is Stopped.NOT_RUNNING
    reap(pid)


def test_a_process_that_will_not_end_is_killed_after_the_time_it_had(home: Home) -> None:
    pid = start(home, "deaf", IGNORES_SIGTERM)
    assert stop_process(home, "deaf", timeout_seconds=0.2) is Stopped.KILLED
    assert running_process(home, "deaf") is None
    reap(pid)


def test_a_process_that_died_is_not_running_although_nobody_collected_it(home: Home) -> None:
    pid = start(home, "brief", [sys.executable, "-c", "print('done')"])
    while running_process(home, "brief"):
        pass
    assert Path(f"/proc/{pid}").exists()
    assert stop_process(home, "brief", timeout_seconds=1) is Stopped.NOT_RUNNING
    reap(pid)


def ticks_since_boot() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def test_a_reused_process_id_is_never_signalled(home: Home) -> None:
    with subprocess.Popen(SLEEPS, stdout=subprocess.DEVNULL) as somebody_else:
        # The kernel tells start times in hundredths of a second, and no id is reused as fast as that.
        begun = ticks_since_boot()
        until_now(lambda: ticks_since_boot() > begun + 1, "a tick passes")
        start(home, "door", ["true"])
        record = json.loads((home.run / "door.json").read_text())
        (home.run / "door.json").write_text(json.dumps({**record, "pid": somebody_else.pid}))
        assert running_process(home, "door") is None
        assert stop_process(home, "door", timeout_seconds=1) is Stopped.NOT_RUNNING
        assert somebody_else.poll() is None
        somebody_else.kill()
    reap(record["pid"])


def test_a_record_of_another_boot_means_not_running(home: Home) -> None:
    pid = start(home, "door", SLEEPS)
    record = running_process(home, "door")
    assert record is not None
    before_reboot = replace(record, started="another-boot:" + record.started.partition(":")[2])
    document = {field: getattr(before_reboot, field) for field in ("name", "pid", "started", "port")}
    (home.run / "door.json").write_text(json.dumps(document))
    assert running_process(home, "door") is None
    os.kill(pid, 9)
    reap(pid)


def test_a_record_that_is_garbage_means_not_running(home: Home) -> None:
    (home.run / "door.json").write_text("{")
    assert running_process(home, "door") is None


def test_a_process_gets_only_the_environment_that_it_is_given(home: Home) -> None:
    show = "import os; print(sorted(name for name in os.environ if name not in ('PATH', 'LC_CTYPE')))"
    pid = start(home, "env", [sys.executable, "-c", show])
    reap(pid)
    assert last_log_line(home, "env") == "['ONLY']"


def test_logs_are_readable_by_their_owner_only(home: Home) -> None:
    pid = start(home, "brief", ["echo", "secretive"])
    reap(pid)
    assert log_path(home, "brief").stat().st_mode & 0o777 == 0o600
