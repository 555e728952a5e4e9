"""One replica under test: its two processes, its spool, its clock, and its own lines to Postgres and to the engine."""

import asyncio
import os
import random
import resource
import signal
import sqlite3
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout
from fault_launch import SKEW_FORMAT
from fault_proxy import FaultProxy
from forked_processes import Launcher

from finpool.installation.process.components import INFERENCE, WORKER, Component, component_environment
from finpool.kernel.settings import Settings

COMPONENTS = (INFERENCE, WORKER)
START_SECONDS_MAX = 60


@dataclass
class Replica:
    """A gateway and its worker. A `wanted` process is started again whenever it is found ended."""

    launcher: Launcher
    settings: Settings
    urls: dict[str, str]
    options: dict[str, str]
    database: FaultProxy
    engine: FaultProxy
    plants: tuple[str, ...] = ()
    wanted: set[str] = field(default_factory=set)
    pids: dict[str, int] = field(default_factory=dict)
    starts: int = 0

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def skew_path(self) -> Path:
        return self.settings.home / "skew"

    def skew(self, seconds: float) -> None:
        """Let the clocks of both processes be wrong by `seconds` from now on."""
        self.skew_path.write_bytes(struct.pack(SKEW_FORMAT, seconds))

    def start(self, component: Component) -> None:
        environment = component_environment(component, self.settings, self.urls) | self.options
        self.wanted.add(component.name)
        self.starts += 1
        self.pids[component.name] = self.launcher.start(
            {
                "component": component.name,
                "environment": environment,
                "log": str(self.settings.home / f"{component.name}.log"),
                "skew": str(self.skew_path),
                "plants": self.plants,
            }
        )

    def running(self, component: Component) -> bool:
        pid = self.pids.get(component.name)
        return pid is not None and self.launcher.running(pid)

    def send(self, component: Component, number: signal.Signals) -> bool:
        """Send a signal, if the process runs."""
        if not self.running(component):
            return False
        os.kill(self.pids[component.name], number)
        return True

    async def end(self, component: Component, number: signal.Signals) -> None:
        """Send a signal, wait until the process is gone, and leave it so."""
        self.wanted.discard(component.name)
        self.send(component, number)
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.running(component):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{component.name} of {self.settings.home.name} did not end")
            await asyncio.sleep(0.02)

    def start_what_ended(self) -> None:
        """Do what a cluster does: start again what is wanted and does not run."""
        for component in COMPONENTS:
            if component.name in self.wanted and not self.running(component):
                self.start(component)

    def fill_disk(self, chance: random.Random) -> None:
        """Let no file of this replica grow past what it is now, or not even up to that: as a full disk does."""
        wal = self.settings.spool_path / "spool.sqlite3-wal"
        size = wal.stat().st_size if wal.exists() else 0
        self._limit_files(chance.choice((0, size // 2, size)))

    def free_disk(self) -> None:
        """Let files grow again."""
        self._limit_files(None)

    def _limit_files(self, size_bytes: int | None) -> None:
        """Limit the size of each file that the processes write, as the system does it for a process: no root needed."""
        for component in COMPONENTS:
            if self.running(component):
                pid = self.pids[component.name]
                _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most if size_bytes is None else size_bytes, most))

    async def ready(self) -> None:
        """Wait until the door answers that it is ready."""
        async with asyncio.timeout(START_SECONDS_MAX), ClientSession(timeout=ClientTimeout(total=5)) as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/readyz") as response:
                        if response.status == 200:
                            return
                except (ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.05)

    def left_in_spool(self) -> tuple[int, int]:
        """Return how many intents and records the spool holds."""
        connection = sqlite3.connect(self.settings.spool_path / "spool.sqlite3", timeout=10)
        try:
            intents = connection.execute("SELECT count(*) FROM intent").fetchone()[0]
            return int(intents), int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
        finally:
            connection.close()

    def log(self) -> str:
        paths = [self.settings.home / f"{component.name}.log" for component in COMPONENTS]
        return "\n".join(path.read_text(errors="replace")[-6000:] for path in paths if path.exists())
