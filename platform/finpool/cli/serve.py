"""`finpool serve <process>`: run one process of the platform in the foreground, on a laptop as in a cluster."""

import importlib
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from finpool.client.errors import ExitCode
from finpool.installation.process.components import DOORS
from finpool.kernel.settings import Settings

DRAIN_SECONDS = 30


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

    from finpool.apps.http_limits import http_protocol
    from finpool.kernel.logs import configure_logs
    from finpool.kernel.telemetry import configure_telemetry

    configure_logs(settings.log_level, name)
    configure_telemetry(name, settings.otlp_endpoint)
    create_app: Callable[[Settings], Any] = importlib.import_module(f"finpool.apps.{name}").create_app
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=port,
        loop="uvloop",
        http=http_protocol(settings),
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_graceful_shutdown=drain_seconds,
    )


def run_process(name: str, settings: Settings) -> int:
    """Run a process without a door, the worker or the pool; return its exit code."""
    if name == Process.POOL:
        return int(importlib.import_module("finpool.installation.pool.process").main())
    importlib.import_module("finpool.apps.worker").main(settings)
    return ExitCode.OK
