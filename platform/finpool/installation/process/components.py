"""The processes of a one-machine installation, with their ports, database roles and environments."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from finpool.installation.home.secret_files import DATABASE_ROLES
from finpool.kernel.settings import Settings

_PASSED_ON = frozenset(
    ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
)
_DIRECTORIES = ("home", "secrets_dir", "spool_dir", "catalogue_dir", "weights_dir")


@dataclass(frozen=True, slots=True)
class Component:
    """One process. It gets the database URLs of `database_roles` only; `stop_seconds` limits its clean end."""

    name: str
    port_offset: int | None
    database_roles: tuple[str, ...]
    stop_seconds: float

    def port(self, settings: Settings) -> int | None:
        """Return the port that the process listens on, or None for a process without a port."""
        return None if self.port_offset is None else settings.port + self.port_offset

    def command(self) -> list[str]:
        """Return the command line that runs the process in the foreground."""
        return [sys.executable, "-P", "-m", "finpool.cli.main", "serve", self.name]


POOL = Component("pool", 10, ("pool",), 60)
INFERENCE = Component("inference", 0, ("inference", "tenant"), 45)
OPERATOR = Component("operator", 1, ("operator",), 15)
REGULATOR = Component("regulator", 2, ("regulator",), 15)
WORKER = Component("worker", None, ("worker",), 60)

START_ORDER = (POOL, WORKER, INFERENCE, OPERATOR, REGULATOR)
"""The pool first: it starts slowest, and the other processes do not wait for it."""

STOP_ORDER = (INFERENCE, OPERATOR, REGULATOR, WORKER, POOL)
"""The worker after inference, so that it records every remaining record of the spool."""

DOORS = (INFERENCE, OPERATOR, REGULATOR)


def component_environment(component: Component, settings: Settings, urls: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a process: system basics, FINPOOL_* settings and its own database URLs."""
    hidden = {f"FINPOOL_{role.upper()}_DATABASE_URL" for role in DATABASE_ROLES}
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith("LC_") or (name.startswith("FINPOOL_") and name not in hidden)
    }
    for name in _DIRECTORIES:
        if (value := getattr(settings, name)) is not None:
            environment[f"FINPOOL_{name.upper()}"] = str(value)
    environment["FINPOOL_PORT"] = str(settings.port)
    for role in component.database_roles:
        environment[f"FINPOOL_{role.upper()}_DATABASE_URL"] = urls[role]
    return environment


def local_url(settings: Settings, component: Component) -> str:
    """Return the base URL of a component on this machine, without a trailing slash."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{component.port(settings)}"
