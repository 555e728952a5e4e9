"""The doctor finds a recorder that is stuck and a record that cannot be read; the process behind it is found."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from finpool.installation.doctor import running_checks
from finpool.installation.doctor.running_checks import examine_running
from finpool.installation.home.home import Home
from finpool.installation.process import components, processes
from finpool.installation.process.components import WORKER, Component
from finpool.installation.process.processes import (
    ProcessRecord,
    Stopped,
    running_process,
    start_process,
    stop_process,
    unreadable_records,
)
from finpool.kernel.clock import now
from finpool.kernel.settings import Settings
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.lag import read_lag


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Home(tmp_path).prepare()
    return Settings(home=tmp_path)


@pytest.fixture
def sleeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process sleeps in place of serving."""
    sleeps = "import time; print('working', flush=True); time.sleep(60)"
    monkeypatch.setattr(Component, "command", lambda self: [sys.executable, "-c", sleeps, "serve", self.name])


@pytest.fixture
def operator(settings: Settings, sleeping: None) -> Iterator[ProcessRecord]:
    home = Home(settings.home)
    environment = {"FINPOOL_HOME": str(home.root), "FINPOOL_PORT": "9000"}
    record = start_process(home, "operator", components.OPERATOR.command(), environment, 9001)
    while not processes.last_log_line(home, "operator"):
        pass
    yield record
    stop_process(home, "operator", timeout_seconds=10)
    os.waitpid(record.pid, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "operator", "pid": 1', '{"pid": 1}', "null", "7"])
def test_a_process_whose_record_is_garbled_is_found_named_and_stopped(
    settings: Settings, operator: ProcessRecord, content: str
) -> None:
    home = Home(settings.home)
    path = home.run / "operator.json"
    path.write_text(content)
    assert running_process(home, "operator") == operator
    assert unreadable_records(home) == [path]
    (check,) = examine_running(settings)
    assert not check.ok
    assert f"{path} cannot be read; operator was found all the same, as process {operator.pid}" in check.detail
    assert stop_process(home, "operator", timeout_seconds=10) is Stopped.ENDED
    assert examine_running(settings) == []


def test_a_process_whose_record_is_gone_is_found(settings: Settings, operator: ProcessRecord) -> None:
    home = Home(settings.home)
    (home.run / "operator.json").unlink()
    assert running_process(home, "operator") == operator
    assert unreadable_records(home) == []


def test_a_process_of_another_home_is_not_taken_for_it(operator: ProcessRecord, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.prepare()
    (other.run / "operator.json").write_text("{")
    assert running_process(other, "operator") is None
    assert running_process(Home(tmp_path), "regulator") is None


def spool_with_record(directory: Path, age: timedelta) -> None:
    connection = spool_file.connect(directory)
    body = orjson.dumps({"settled_at": (now() - age).isoformat()})
    connection.execute("INSERT INTO record (kind, body) VALUES ('settlement', ?)", (body,))
    connection.execute("INSERT INTO record (kind, body) VALUES ('lease_return', ?)", (b"{}",))
    connection.close()


@pytest.mark.parametrize(("running", "age_seconds", "ok"), [(True, 300, False), (True, 5, True), (False, 300, True)])
def test_a_recorder_that_runs_and_records_nothing_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, running: bool, age_seconds: int, ok: bool
) -> None:
    spool_with_record(settings.spool_path, timedelta(seconds=age_seconds))
    record = ProcessRecord(WORKER.name, 1, "now", None)
    monkeypatch.setattr(running_checks, "running_process", lambda *_: record if running else None)
    (check,) = examine_running(settings)
    assert check.ok is ok
    assert "2 records wait to be recorded, the oldest for" in check.detail
    assert ("the recorder is stuck" in check.detail) is not ok


def test_the_lag_is_read_beside_a_writer_and_changes_nothing(settings: Settings) -> None:
    assert read_lag(settings.spool_path) is None
    assert not settings.spool_path.exists()
    spool_with_record(settings.spool_path, timedelta(seconds=10))
    writer = spool_file.connect(settings.spool_path)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM record")
    lag = read_lag(settings.spool_path)
    assert lag is not None
    assert lag.records == 2
    assert lag.oldest_age_seconds == pytest.approx(10, abs=60)
    writer.execute("COMMIT")
    emptied = read_lag(settings.spool_path)
    assert emptied is not None
    assert replace(emptied, records=0) == emptied
    writer.close()


def test_a_damaged_spool_is_found(settings: Settings) -> None:
    settings.spool_path.mkdir()
    (settings.spool_path / spool_file.FILE_NAME).write_bytes(b"not a database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(settings.spool_path / spool_file.FILE_NAME).execute("SELECT 1 FROM record")
    (check,) = examine_running(settings)
    assert not check.ok
    assert "cannot be read" in check.detail
