"""The checks before a start: each finds one fault that would stop the platform from starting."""

import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from finpool.installation.demo.env import read_demo_env
from finpool.installation.doctor.check import Check
from finpool.installation.doctor.model_checks import examine_models
from finpool.installation.home.home import STATE_VERSION, Home
from finpool.installation.home.secret_files import (
    BOUND_TO_DATA,
    POSTGRES_SECRET_NAMES,
    SECRET_NAMES,
    secret_fault,
)
from finpool.installation.process.components import DOORS, POOL, START_ORDER, Component
from finpool.installation.process.processes import running_process
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings, python_version_supported
from finpool.metering.errors import SpoolUnusable
from finpool.metering.spool import file as spool_file

FIRST_START_DISK_BYTES = 3_000_000_000
RUNNING_DISK_BYTES = 500_000_000
MEMORY_BYTES = 4_000_000_000

_MAY_PRECEDE_FIRST_START = frozenset(("secrets", "weights", "lost+found"))
"""Entries that an owner may place in an empty FINPOOL_HOME before the first start."""


def examine(settings: Settings) -> list[Check]:
    """Run every check; `settings.home` is absolute."""
    home = Home(settings.home)
    return [
        _python(),
        _home(home),
        _disk(home),
        _memory(home),
        _host(settings),
        *(_port(home, settings, component) for component in (*DOORS, POOL)),
        _secrets(home, settings),
        _demo_env(home),
        *_spool(settings),
        *examine_models(settings),
    ]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if python_version_supported():
        return Check("python", True, f"Python {version}")
    return Check("python", False, f"Python {version} is not supported: use 3.11 or 3.12 (`make up PYTHON=python3.11`)")


def _home(home: Home) -> Check:
    fault = _home_fault(home)
    return Check("home", fault is None, fault or f"{home.root} is writable")


def _home_fault(home: Home) -> str | None:
    if any(character.isspace() for character in str(home.root)):
        return f"'{home.root}' holds a space, which Postgres cannot take: set FINPOOL_HOME to a path without one"
    existing = _existing(home.root)
    if not existing.is_dir():
        return f"{existing} is a file, not a directory: set FINPOOL_HOME to another path"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} is not writable for this user: set FINPOOL_HOME to a directory that is"
    if existing != home.root:
        return None
    present = {each.name for each in home.root.iterdir()}
    if not home.version.exists():
        if foreign := sorted(present - _MAY_PRECEDE_FIRST_START):
            return (
                f"{home.root} holds other things ({', '.join(foreign[:3])}) and no version marker:"
                " set FINPOOL_HOME to an empty or new directory"
            )
        return None
    version = home.version.read_text(encoding="utf-8", errors="replace").strip()
    if version != STATE_VERSION:
        return (
            f"{home.root} has state format {version!r}, this release reads {STATE_VERSION!r}:"
            " use the release that wrote it, or another FINPOOL_HOME"
        )
    if home.postgres.is_dir() and any(home.postgres.iterdir()) and not _database_complete(home):
        return (
            f"{home.postgres} is half-written: its first start was interrupted."
            f" Move it away (`mv {home.postgres} {home.postgres}.broken`) and run `finpool up` again"
        )
    return None


def _database_complete(home: Home) -> bool:
    return home.started_before and (home.postgres / "global" / "pg_control").exists()


def _disk(home: Home) -> Check:
    need_bytes = RUNNING_DISK_BYTES if home.started_before else FIRST_START_DISK_BYTES
    free_bytes = shutil.disk_usage(_existing(home.root)).free
    shown = f"{free_bytes / 1e9:.1f} GB free at {home.root}"
    if free_bytes >= need_bytes:
        return Check("disk", True, shown)
    return Check("disk", False, f"{shown}, {need_bytes / 1e9:.1f} GB are needed: free some space or move FINPOOL_HOME")


def _memory(home: Home) -> Check:
    if any(running_process(home, component.name) for component in START_ORDER):
        return Check("memory", True, "the platform is running")
    available_bytes = available_memory_bytes()
    shown = f"{available_bytes / 1e9:.1f} GB of memory available"
    if available_bytes >= MEMORY_BYTES:
        return Check("memory", True, shown)
    return Check("memory", False, f"{shown}, {MEMORY_BYTES / 1e9:.0f} GB are needed: end other programs")


def available_memory_bytes() -> int:
    """Return the memory that new processes can have. Raises `ConfigurationError` if the system does not say it."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise ConfigurationError("/proc/meminfo does not say how much memory is available")


def _host(settings: Settings) -> Check:
    """Check that the doors listen on loopback: they speak plain HTTP, and the demo keys have the owner role."""
    try:
        loopback = settings.host == "localhost" or ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = False
    if loopback:
        return Check("host", True, f"the doors listen on {settings.host} only")
    return Check(
        "host",
        False,
        f"FINPOOL_HOST={settings.host} would open the doors, which speak plain HTTP, to the network: unset it"
        " (docs/deployment.md says how to serve a network)",
    )


def _port(home: Home, settings: Settings, component: Component) -> Check:
    port = component.port(settings)
    name = f"port {port}"
    record = running_process(home, component.name)
    if record is not None and record.port == port:
        return Check(name, True, f"{component.name} listens there")
    if record is not None:
        return Check(
            name, False, f"{component.name} runs on port {record.port}: run `finpool down` before changing FINPOOL_PORT"
        )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Check(
                name,
                False,
                f"another program uses port {port}, which {component.name} needs: end it, or set FINPOOL_PORT so that"
                " PORT, PORT+1, PORT+2 and PORT+10 are free",
            )
    return Check(name, True, f"free for {component.name}")


def _secrets(home: Home, settings: Settings) -> Check:
    directory = settings.secrets_path
    paths = [directory / name for name in SECRET_NAMES]
    paths += [home.root / "secrets" / name for name in POSTGRES_SECRET_NAMES]
    missing = [path for path in paths if not path.exists()]
    lost = [path for path in missing if path.name in BOUND_TO_DATA]
    if lost and home.started_before:
        detail = f"{lost[0]} is missing and the data cannot be used without it: restore it from a backup"
        return Check("secrets", False, detail)
    faults = [fault for path in paths if path.exists() and (fault := secret_fault(path))]
    if faults:
        return Check("secrets", False, faults[0])
    return Check(
        "secrets", True, f"{len(paths) - len(missing)} in {directory}, strong and readable by their owner only"
    )


def _demo_env(home: Home) -> Check:
    try:
        values = read_demo_env(home)
    except ConfigurationError as error:
        return Check("demo.env", False, str(error))
    if not values:
        return Check("demo.env", True, "will be written by `finpool up`")
    mode = home.demo_env.stat().st_mode & 0o777
    if mode & 0o077:
        return Check("demo.env", False, f"{home.demo_env} can be read by others: run `chmod 600 {home.demo_env}`")
    return Check("demo.env", True, f"{home.demo_env}, readable by its owner only")


def _spool(settings: Settings) -> Iterator[Check]:
    try:
        spool_file.verify(settings.spool_path)
    except SpoolUnusable as error:
        yield Check("spool file", False, f"{error}; nothing in it is lost yet, so do not delete it")


def _existing(path: Path) -> Path:
    """Return `path`, or the closest existing directory above it."""
    return next(each for each in (path, *path.parents) if each.exists())
