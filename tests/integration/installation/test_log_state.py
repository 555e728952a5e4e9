"""The doctor and the status of this machine name a log that events do not reach any more."""

import asyncio
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from finpool.audit.sequencer import Sequencer
from finpool.audit.service import append
from finpool.cli.main import run
from finpool.installation.doctor.running_checks import examine_running
from finpool.installation.down import status
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings

OpenDatabase = Callable[[str], Database]


async def halt(database: OpenDatabase) -> None:
    """Let an event wait, as it does while no worker runs."""
    async with database("operator").across_tenants() as session:
        await append(session, kind="test.event", tenant_id=None, actor=None, body={})


async def test_the_doctor_and_the_status_name_a_stale_log(settings: Settings, database: OpenDatabase) -> None:
    await halt(database)
    impatient = settings.model_copy(update={"audit_waiting_seconds_max": 1e-9})
    [check] = await asyncio.to_thread(examine_running, impatient)
    assert (check.name, check.ok) == ("audit log", False)
    assert "the audit log is stale: an event waits" in check.detail
    assert "the worker, which writes it, does not run" in check.detail
    [worker] = [each for each in await asyncio.to_thread(status, impatient) if each.name == "worker"]
    assert worker.log_faults is not None
    assert "the audit log is stale" in worker.log_faults[0]
    await Sequencer(database("worker")).run_once()
    [check] = await asyncio.to_thread(examine_running, impatient)
    assert check.ok
    assert check.detail.startswith("no event waits, the last entry is of an event")


async def test_a_database_that_does_not_answer_is_named(settings: Settings) -> None:
    nowhere = SecretStr("postgresql://finpool_operator:password@127.0.0.1:1/finpool")
    unreachable = settings.model_copy(update={"operator_database_url": nowhere})
    [check] = await asyncio.to_thread(examine_running, unreachable)
    assert not check.ok
    assert "the database does not say how fresh the audit log is" in check.detail
    [worker] = [each for each in await asyncio.to_thread(status, unreachable) if each.name == "worker"]
    assert worker.log_faults is not None


async def test_status_prints_the_faults_of_the_log(
    settings: Settings, database: OpenDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await halt(database)
    monkeypatch.setenv("FINPOOL_HOME", str(settings.home))
    monkeypatch.setenv("FINPOOL_OPERATOR_DATABASE_URL", settings.database_url("operator"))
    monkeypatch.setenv("FINPOOL_AUDIT_WAITING_SECONDS_MAX", "0.000000001")
    assert await asyncio.to_thread(run, ["status"]) == 1
    assert "log: the audit log is stale" in capsys.readouterr().out
    assert await asyncio.to_thread(run, ["doctor"]) == 1
    assert "audit log" in capsys.readouterr().out
