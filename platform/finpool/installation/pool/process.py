"""The pool process: a Ray head with one Serve application for each version of a model, on this machine only."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.installation.pool.engines_file import write_engines
from finpool.installation.pool.log_bounds import keep_bounded
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.database.database import Database
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.log_output import LogRotation
from finpool.kernel.logs import configure_logs, logger
from finpool.kernel.settings import Settings
from finpool.serving.backend.service import Backends
from finpool.serving.cluster.environment import (
    RAY_TOKEN,
    make_pool_directory,
    pool_environment,
    ray_directory,
    serve_port,
)
from finpool.serving.counters import forget_counts
from finpool.serving.pool.schemas import PoolState
from finpool.serving.pool.service import Pool
from finpool.serving.pool.steps import VersionSteps

OBJECT_STORE_BYTES = 80_000_000
"""Answers go over HTTP, not through the object store; Ray accepts hardly less than this."""

ROOM_FACTOR = 2
"""The default ratio of the engines' CPU cores to the declared cores; the rest is room for new versions."""

DATABASE_VARIABLE = "FINPOOL_POOL_DATABASE_URL"


def main() -> int:
    """Run the pool until SIGTERM or SIGINT; return 1 with one log line if it cannot start."""
    started_seconds = monotonic_seconds()
    _stop_on_signals()
    settings = Settings()
    # Ray's processes inherit this environment, and none of them may use the database.
    os.environ.pop(DATABASE_VARIABLE, None)
    configure_logs(settings.log_level, "pool", LogRotation(settings.log_path, settings.log_bytes_max))
    log = logger("apps.pool")
    directory: Path | None = None
    try:
        for name in ("engine_token", RAY_TOKEN):
            settings.secret(name)
        database_url = settings.database_url("pool")
        catalogue = Catalogue.load(settings.catalogue_dir or default_directory())
        _require_free_port(serve_port(settings))
        write_engines(settings.home, None)
        forget_counts(settings.home)
        directory = make_pool_directory(settings)
        # Ray reads its environment at import, and its processes inherit it.
        os.environ.update(pool_environment(settings, directory))
        log.info("starting Ray", directory=str(directory))
        _start_ray(settings, catalogue)

        def publish(state: PoolState) -> None:
            write_engines(settings.home, state)
            seconds = round(monotonic_seconds() - started_seconds, 1)
            log.info("ready", engines=state.engine_paths, port=serve_port(settings), seconds=seconds)

        asyncio.run(_run(settings, catalogue, database_url, publish))
        log.info("stopping")
    except ConfigurationError as error:
        log.error("cannot start", reason=str(error))
        return 1
    except KeyboardInterrupt:
        log.info("stopping")
    finally:
        _shut_down()
    # Only after a clean stop; after a failure Ray's logs in this directory explain it.
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


async def _run(
    settings: Settings, catalogue: Catalogue, database_url: str, publish: Callable[[PoolState], None]
) -> None:
    from finpool.serving.cluster.engines import RayEngines

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database = Database(database_url, settings.database_pool_connections_max)
    backends, engines = Backends(settings), RayEngines()
    logs = asyncio.create_task(keep_bounded(settings.home, ray_directory(settings), settings.log_bytes_max))
    try:
        await backends.start()
        steps = VersionSteps(settings, database, backends, engines)
        await Pool(catalogue, database, steps, engines, publish).run(stop, settings.snapshot_age_max_seconds)
    finally:
        logs.cancel()
        engines.close()
        await backends.close()
        await database.close()


def _stop_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def _require_free_port(port: int) -> None:
    """Check the port before the slow start: HAProxy would report a conflict only in its own log."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} (FINPOOL_PORT + 10) is taken: set FINPOOL_PORT to another, or stop what listens there"
            ) from error


def _start_ray(settings: Settings, catalogue: Catalogue) -> None:
    import ray
    from ray import serve

    engines = [model.engine for model in catalogue.on_pool() if model.base is None]
    declared = sum(engine.threads * engine.replicas_max for engine in engines)
    ray.init(
        address="local",
        num_cpus=settings.pool_cpus or ROOM_FACTOR * declared,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        _temp_dir=str(ray_directory(settings)),
    )
    # Ray has replaced our signal handler by one that ends the process without stopping Serve.
    _stop_on_signals()
    serve.start(http_options={"host": "127.0.0.1", "port": serve_port(settings)})


def _shut_down() -> None:
    """Stop Serve and Ray if they were started, and ignore further signals."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if "ray" not in sys.modules:
        return
    import ray
    from ray import serve

    if ray.is_initialized():
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
