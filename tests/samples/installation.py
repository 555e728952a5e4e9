"""The real thing: `finpool up` on this machine, once for all files that share it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UP_SECONDS_MAX = 1000
CATALOGUE_VARIABLE = "FINPOOL_TEST_CATALOGUE_DIR"
"""Names a catalogue to bring up in the place of the default one: the same tests then run on another engine."""

PORT_OFFSETS = (0, 1, 2, 10)
"""The ports of the doors and of Ray Serve, from an installation's first port on."""

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

    def ports_in_use(self) -> list[int]:
        """Return those of its ports that accept a connection."""
        found = []
        for port in (self.port + offset for offset in PORT_OFFSETS):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    found.append(port)
        return found

    def logs(self) -> str:
        """Return the end of every log, to explain the failure of a test."""
        parts = [""]
        for log in sorted((self.home / "log").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            parts += [f"--- {log.name}", *(line[-LOG_CHARACTERS_SHOWN:] for line in lines)]
        return "\n".join(parts)


class Installations:
    """The installations of one test process.

    A running one takes a fifth of a core even when nobody asks it. So each stops as soon as the next file uses
    another one or none, and its home stays until the process ends.
    """

    def __init__(self) -> None:
        self._made: list[Installation] = []
        self._shared: Installation | None = None

    def new(self) -> Installation:
        """Make a home with free ports in which nothing runs yet."""
        # A short path: Postgres and Ray keep Unix sockets whose paths may have 107 bytes.
        home = Path(tempfile.mkdtemp(prefix="finpool-e2e-"))
        taken = {each.port for each in self._made}
        port = next(
            port
            for port in range(18_000 + os.getpid() % 500 * 20, 30_000, 20)
            if port not in taken and all(_is_free(port + offset) for offset in PORT_OFFSETS)
        )
        weights = os.environ.get("FINPOOL_TEST_WEIGHTS_DIR", str(ROOT / ".cache" / "weights"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FINPOOL_")}
        environment |= {"FINPOOL_HOME": str(home), "FINPOOL_PORT": str(port), "FINPOOL_WEIGHTS_DIR": weights}
        if catalogue := os.environ.get(CATALOGUE_VARIABLE):
            environment["FINPOOL_CATALOGUE_DIR"] = catalogue
        self._made.append(Installation(home, port, environment))
        return self._made[-1]

    def share(self, installation: Installation) -> None:
        """Let the files that share an installation use this one, and stop another one that they used."""
        self._shared = installation
        self.stop()

    def shared(self) -> Installation:
        """Return the shared installation, which runs: a new one, unless a file has shared its own."""
        if self._shared is None:
            self._shared = self.new()
        if not self._shared.processes():
            started = self._shared.finpool("up")
            if started.returncode != 0:
                said = f"{started.stdout}{started.stderr}{self._shared.logs()}"
                pytest.fail(f"finpool up failed:\n{said}", pytrace=False)
        return self._shared

    def stop(self, *, shared: bool = False) -> None:
        """Stop every installation that runs, and the shared one if `shared` says so."""
        for each in self._made:
            if (shared or each is not self._shared) and each.processes():
                stopped = each.finpool("down")
                assert stopped.returncode == 0, stopped.stderr

    def close(self, *, show_logs: bool) -> None:
        """Stop all of them and remove their homes."""
        if show_logs:
            sys.stderr.writelines(f"{each.logs()}\n" for each in self._made)
        self.stop(shared=True)
        for each in self._made:
            shutil.rmtree(each.home)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_STARTED = pytest.StashKey[Installations]()


@pytest.fixture(scope="session")
def installations(request: pytest.FixtureRequest) -> Iterator[Installations]:
    """All installations of this test process."""
    started = request.config.stash[_STARTED] = Installations()
    yield started
    started.close(show_logs=bool(request.session.testsfailed))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Stop the installations that the next test's file does not share."""
    yield
    started = item.config.stash.get(_STARTED, None)
    if started is not None and nextitem is not None and nextitem.path != item.path:
        shares = isinstance(nextitem, pytest.Function) and "installation" in nextitem.fixturenames
        started.stop(shared=not shares)


@pytest.fixture(scope="module")
def installation(installations: Installations) -> Installation:
    """The platform as `make up` brings it up, with two demo banks; tests leave it running."""
    return installations.shared()
