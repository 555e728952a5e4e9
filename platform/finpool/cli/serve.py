"""`finpool serve <process>`: run one process of the platform in the foreground, on a laptop as in a cluster."""

import importlib
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from finpool.client.errors import ExitCode
from finpool.installation.process.components import DOORS
from finpool.kernel.settings import Settings

DRAIN_SECONDS = 30
START_FAILED = 3
"""Exit code of a door that did not start, as uvicorn's own."""


class Process(StrEnum):
    """A process to serve."""

    INFERENCE = "inference"
    OPERATOR = "operator"
    REGULATOR = "regulator"
    WORKER = "worker"
    POOL = "pool"


def serve(
    process: Annotated[Process, typer.Argument(help="Which process.")],
    drain_seconds: Annotated[
        int, typer.Option(min=1, help="Seconds after SIGTERM for running answers to end.")
    ] = DRAIN_SECONDS,
) -> None:
    """Run one process in the foreground until SIGTERM."""
    settings = Settings()
    door = next((each for each in DOORS if each.name == process), None)
    if door is not None:
        for role in door.database_roles:
            settings.database_url(role)  # A door opens its database late; a wrong URL should end it here, in one line.
        serve_door(process, settings, settings.port + (door.port_offset or 0), drain_seconds)
        return
    raise typer.Exit(run_process(process, settings))


def serve_door(name: str, settings: Settings, port: int, drain_seconds: int) -> None:
    """Serve one ASGI app on `port` with uvicorn until SIGTERM; then let running answers end."""
    import uvicorn

    from finpool.apps.connection.descriptors import connections_within_limit
    from finpool.apps.http_limits import http_protocol
    from finpool.apps.listening import listening_sockets
    from finpool.apps.server import DoorServer
    from finpool.kernel.log_output import LogRotation
    from finpool.kernel.logs import configure_logs
    from finpool.kernel.telemetry import exported_telemetry

    configure_logs(settings.log_level, name, LogRotation(settings.log_path, settings.log_bytes_max))
    connections_max = connections_within_limit(settings.connections_max)
    create_app: Callable[[Settings], Any] = importlib.import_module(f"finpool.apps.{name}").create_app
    with exported_telemetry(name, settings.otlp_endpoint):
        config = uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=port,
            loop="uvloop",
            http=http_protocol(settings, connections_max),
            ws="none",
            lifespan="on",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=drain_seconds,
        )
        server = DoorServer(config)
        signal.signal(signal.SIGTERM, partial(_end, server))
        server.run(sockets=listening_sockets(settings.host, port))
    if not server.started:
        raise typer.Exit(START_FAILED)


def _end(server: Any, number: int, _: Any) -> None:
    """End at SIGTERM before the server runs. It raises the signal again once it has stopped, which means nothing more.

    Without this handler that second signal would kill the process before it has exported its telemetry.
    """
    if not server.should_exit:
        sys.exit(128 + number)


def run_process(name: str, settings: Settings) -> int:
    """Run a process without a door, the worker or the pool; return its exit code."""
    if name == Process.POOL:
        return int(importlib.import_module("finpool.installation.pool.process").main())
    importlib.import_module("finpool.apps.worker").main(settings)
    return ExitCode.OK
