"""Real processes that a test may kill, on real Postgres, before the scripted engine."""

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from forked_processes import Launcher
from scripted_engine import ScriptedEngine
from sector import ReplicaProcesses, Sector

from finpool.installation.process.components import INFERENCE, WORKER
from finpool.kernel.database.database import Database
from finpool.kernel.settings import Settings


@pytest.fixture
def sector(settings: Settings, database: Callable[[str], Database]) -> Sector:
    return Sector(settings, database("operator"))


@pytest.fixture
async def add_replica(
    settings: Settings,
    engine: ScriptedEngine,
    engine_port: int,
    tmp_path: Path,
    launcher: Launcher,
    unused_tcp_port_factory: Callable[[], int],
) -> AsyncIterator[Callable[..., ReplicaProcesses]]:
    """Start inference and worker of a new replica; processes that still run at the end are killed."""
    started: list[ReplicaProcesses] = []

    def add(replica_id: str, lease_idle_seconds: float = 0.2) -> ReplicaProcesses:
        home = tmp_path / replica_id
        home.mkdir()
        own = settings.model_copy(
            update={"home": home, "secrets_dir": tmp_path / "secrets", "port": unused_tcp_port_factory()}
        )
        options = {
            "FINPOOL_REPLICA_ID": replica_id,
            "FINPOOL_SERVE_URL": f"http://127.0.0.1:{engine_port}",
            "FINPOOL_LEASE_IDLE_SECONDS": str(lease_idle_seconds),
            "FINPOOL_RECORDER_INTERVAL_SECONDS": "0.05",
        }
        replica = ReplicaProcesses(own, options, launcher)
        started.append(replica)
        for component in (INFERENCE, WORKER):
            replica.start(component)
        return replica

    yield add
    for replica in started:
        for component in (INFERENCE, WORKER):
            replica.end(component, signal.SIGKILL)
