"""The environment of Ray's processes on one machine: a private directory, and Ray's environment variables."""

import hashlib
import math
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings
from finpool.serving.transport.connections import IDLE_SECONDS_MAX

RAY_TOKEN = "ray_token"  # noqa: S105 - the name of a file.
"""The secret file with which Ray's processes authenticate each other."""

_RAY_DIRECTORY = "r"
_HAPROXY_DIRECTORY = "h"
_LONGEST_SOCKETS = (
    (f"{_HAPROXY_DIRECTORY}/{'0' * 56}/metrics.sock", 97),
    (f"{_RAY_DIRECTORY}/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store", 107),
)
"""The longest socket paths of HAProxy and Ray in the pool's directory, each with its limit in bytes."""

_PATH_SETTINGS = ("home", "secrets_dir", "catalogue_dir", "weights_dir")


def serve_port(settings: Settings) -> int:
    """Return the port of Serve's HAProxy on loopback."""
    return settings.port + 10


def pool_directory(settings: Settings) -> Path:
    """Return the path of the pool's directory for sockets and logs; it may not exist."""
    home_digest = hashlib.sha256(str(settings.home.absolute()).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"finpool-{home_digest}"


def ray_directory(settings: Settings) -> Path:
    """Return Ray's directory. Ray makes it writable for everyone, so it lies in a private directory."""
    return pool_directory(settings) / _RAY_DIRECTORY


def make_pool_directory(settings: Settings) -> Path:
    """Create and return the pool's directory, empty and private; raise `ConfigurationError` if that fails.

    The files of an earlier run are removed; the caller has checked that no pool of this installation runs.
    """
    directory = pool_directory(settings)
    if any(len(str(directory / name).encode()) > bytes_max for name, bytes_max in _LONGEST_SOCKETS):
        raise ConfigurationError(
            f"{tempfile.gettempdir()} is too long for the names of sockets: set TMPDIR to a shorter one"
        )
    try:
        if directory.exists() or directory.is_symlink():
            _refuse_foreign(directory)
            shutil.rmtree(directory)
        for private in (directory, directory / _HAPROXY_DIRECTORY, directory / _RAY_DIRECTORY):
            private.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"cannot make the directory {directory}: {error.strerror}") from error
    return directory


def pool_environment(settings: Settings, directory: Path) -> dict[str, str]:
    """Return the environment variables to set before Ray is imported; its processes inherit them."""
    haproxy = directory / _HAPROXY_DIRECTORY
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray starts its workers with niceness 15. Engines answer clients as the gateway does, and at niceness 15 any
        # other process would get 28 times the CPU time of an engine.
        "RAY_worker_niceness": "0",
        # Ray binds to the machine's outward address unless it assumes that it cannot form a cluster.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # By default half a gigabyte for each of six files of each process.
        "RAY_ROTATION_MAX_BYTES": str(settings.log_bytes_max),
        "RAY_ROTATION_BACKUP_COUNT": "1",
        # Ray's three ports of metrics ask for no token. A port that does not exist keeps two of them closed: Ray has no
        # other setting, and goes on without.
        "RAY_enable_metrics_collection": "0",
        "AUTOSCALER_METRIC_PORT": "-1",
        "DASHBOARD_METRIC_PORT": "-1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str((settings.secrets_path / RAY_TOKEN).absolute()),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        # Serve would keep an engine replica for 30 seconds after its last request. The old HAProxy knows a leaving
        # replica and passes on requests of kept connections. So the replica stays slightly longer than the gateway
        # keeps idle connections.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(math.ceil(IDLE_SECONDS_MAX) + 2),
        # HAProxy restarts with each change of engine replicas; by default the old one would cut its streams after two
        # minutes.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(max(120, math.ceil(settings.engine_drain_seconds))),
        # Serve kills a HAProxy that fails three checks of 5 seconds each, and the start fails. A busy machine needs
        # more; Serve itself gives up after 60 seconds.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "60",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(serve_port(settings) + 1),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "finpool.serving.engine.routes_guard:port_guards",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_haproxy_launcher(directory)),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
    }
    # Replicas run in other working directories, so relative paths must become absolute.
    for name in _PATH_SETTINGS:
        path: Path | None = getattr(settings, name)
        if path is not None:
            environment[f"FINPOOL_{name.upper()}"] = str(path.absolute())
    return environment


def _refuse_foreign(directory: Path) -> None:
    """Raise `ConfigurationError` for a directory that another user of the machine has created in this place."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ConfigurationError(f"{directory} belongs to somebody else: remove it, or set TMPDIR to another one")


def _haproxy_launcher(directory: Path) -> Path:
    """Write the executable that Serve starts as HAProxy."""
    launcher = directory / "haproxy"
    launcher.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m finpool.serving.cluster.haproxy "$@"\n', encoding="utf-8"
    )
    launcher.chmod(0o700)
    return launcher
