"""The pool process: a Ray head with one Serve application for each model, on this machine only."""

import os
import shutil
import signal
import socket
import sys
from pathlib import Path

from finpool.catalogue.schemas import Model
from finpool.catalogue.service import Catalogue, default_directory
from finpool.catalogue.weights_service import ensure_weights
from finpool.kernel.clock import monotonic_seconds
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.logs import configure_logs, logger
from finpool.kernel.settings import Settings
from finpool.serving.environment import (
    RAY_TOKEN,
    make_pool_directory,
    pool_environment,
    ray_directory,
    serve_port,
)

OBJECT_STORE_BYTES = 80_000_000
"""Answers go through HTTP, not through the object store; this is close to the least that Ray takes."""


def main() -> int:
    """Serve every model of the catalogue until SIGTERM or SIGINT; return 1 with one line if that cannot start."""
    started_seconds = monotonic_seconds()
    _stop_on_signals()
    settings = Settings()
    configure_logs(settings.log_level, "pool")
    log = logger("apps.pool")
    directory: Path | None = None
    try:
        for name in ("engine_token", RAY_TOKEN):
            settings.secret(name)
        pooled = Catalogue.load(settings.catalogue_dir or default_directory()).pooled()
        models = tuple(model for model in pooled if model.base is None)
        for model in models:
            ensure_weights(model, settings, log.info)
        _require_free_port(serve_port(settings))
        directory = make_pool_directory(settings)
        # Ray reads its environment when it is imported, and its processes inherit it.
        os.environ.update(pool_environment(settings, directory))
        log.info("starting Ray", directory=str(directory))
        _serve(settings, models)
        seconds = round(monotonic_seconds() - started_seconds, 1)
        log.info("ready", models=[model.id for model in models], port=serve_port(settings), seconds=seconds)
        while True:
            signal.pause()
    except ConfigurationError as error:
        log.error("cannot start", reason=str(error))
        return 1
    except KeyboardInterrupt:
        log.info("stopping")
    finally:
        _shut_down()
    # Only after a clean stop: after anything else Ray's logs in there say why.
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _stop_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def _require_free_port(port: int) -> None:
    """Find out before the slow part: HAProxy would only say it in a log of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} (FINPOOL_PORT + 10) is taken: set FINPOOL_PORT to another, or stop what listens there"
            ) from error


def _serve(settings: Settings, models: tuple[Model, ...]) -> None:
    import ray
    from ray import serve

    from finpool.serving.application import ApplicationArgs, build_app, route_prefix

    ray.init(
        address="local",
        num_cpus=sum(model.engine.threads for model in models),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        _temp_dir=str(ray_directory(settings)),
    )
    # Ray has put a handler of its own in the place of ours, which ends the process without stopping Serve.
    _stop_on_signals()
    serve.start(http_options={"host": "127.0.0.1", "port": serve_port(settings)})
    for model in models:
        application = build_app(ApplicationArgs(model_id=model.id))
        serve.run(application, name=model.id, route_prefix=route_prefix(model))


def _shut_down() -> None:
    """Stop Serve and Ray if they were started; a second signal does not interrupt it."""
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
