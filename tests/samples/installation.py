"""The real thing: `finpool up` on this machine, once for all tests that need it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UP_SECONDS_MAX = 1000
CATALOGUE_VARIABLE = "FINPOOL_TEST_CATALOGUE_DIR"
"""Names a catalogue to bring up in the place of the default one: the same tests then run on another engine."""

LOG_LINES_SHOWN = 8
LOG_CHARACTERS_SHOWN = 600


@dataclass(frozen=True)
class Installation:
    """An installation of its own: a home, a block of ports, and the command line that works on it."""

    home: Path
    port: int
    environment: dict[str, str] = field(repr=False)

    @property
    def demo_env(self) -> dict[str, str]:
        """What `finpool up` wrote for shells to source."""
        lines = (self.home / "demo.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def finpool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command and return its result with any exit code."""
        return subprocess.run(
            [sys.executable, "-m", "finpool.cli.main", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS_MAX,
            check=False,
        )

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """Run one command with --json and return what it printed; it must end with `exit_code`."""
        ended = self.finpool(*arguments, "--json")
        assert ended.returncode == exit_code, (
            f"finpool {' '.join(arguments)}: {ended.stdout}{ended.stderr}{self.logs()}"
        )
        return json.loads(ended.stdout if exit_code in (0, 4) or ended.stdout else ended.stderr)

    def processes(self) -> list[int]:
        """Return the ids of all processes that belong to this installation: by their environment or arguments."""
        marks = (f"FINPOOL_HOME={self.home}\0".encode(), f"{self.home}/".encode())
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                described = (directory / "environ").read_bytes() + (directory / "cmdline").read_bytes() + b"\0"
            except OSError:
                continue
            if int(directory.name) != os.getpid() and any(mark in described for mark in marks):
                found.append(int(directory.name))
        return found

    def logs(self) -> str:
        """Return the end of every log, to explain the failure of a test."""
        parts = [""]
        for log in sorted((self.home / "log").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            parts += [f"--- {log.name}", *(line[-LOG_CHARACTERS_SHOWN:] for line in lines)]
        return "\n".join(parts)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def new_installation() -> Iterator[Callable[[], Installation]]:
    """Make homes with free ports in which nothing runs yet; processes that were started in them are stopped at the
    end."""
    made: list[Installation] = []

    def make() -> Installation:
        # A short path: Postgres and Ray keep Unix sockets whose paths may have 107 bytes.
        home = Path(tempfile.mkdtemp(prefix="finpool-e2e-"))
        taken = {each.port for each in made}
        port = next(
            port
            for port in range(18_000 + os.getpid() % 500 * 20, 30_000, 20)
            if port not in taken and all(_is_free(port + offset) for offset in (0, 1, 2, 10))
        )
        weights = os.environ.get("FINPOOL_TEST_WEIGHTS_DIR", str(ROOT / ".cache" / "weights"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FINPOOL_")}
        environment |= {"FINPOOL_HOME": str(home), "FINPOOL_PORT": str(port), "FINPOOL_WEIGHTS_DIR": weights}
        if catalogue := os.environ.get(CATALOGUE_VARIABLE):
            environment["FINPOOL_CATALOGUE_DIR"] = catalogue
        made.append(Installation(home, port, environment))
        return made[-1]

    yield make
    for installation in made:
        stopped = installation.finpool("down")
        assert stopped.returncode == 0, stopped.stderr
        shutil.rmtree(installation.home)


@pytest.fixture(scope="session")
def installation(
    new_installation: Callable[[], Installation], request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """The platform as `make up` brings it up, with two demo banks; tests leave it running."""
    installed = new_installation()
    started = installed.finpool("up")
    if started.returncode != 0:
        pytest.fail(f"finpool up failed:\n{started.stdout}{started.stderr}{installed.logs()}", pytrace=False)
    yield installed
    if request.session.testsfailed:
        sys.stderr.write(installed.logs() + "\n")
