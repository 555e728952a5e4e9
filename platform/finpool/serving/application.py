"""One Ray Serve application for each model. A RayService names `finpool.serving.application:build_app`."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from finpool.catalogue.engine_schemas import OpenAiEngine, VllmEngine
from finpool.catalogue.schemas import Model
from finpool.catalogue.service import Catalogue, default_directory
from finpool.catalogue.weights_service import ensure_weights
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.logs import configure_logs, logger
from finpool.kernel.settings import Settings
from finpool.serving.overload import requests_ongoing_max, requests_queued_max
from finpool.serving.routes_engine import engine_app


class ApplicationArgs(BaseModel):
    """Arguments of `build_app`: which model of the catalogue the application serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str


@serve.ingress()
class Replica:
    """One engine process. It reads catalogue, weights and token where it runs; only the model's id travels."""

    def __init__(self, model_id: str) -> None:
        # Only replicas load the engine's library; the process that deploys them need not have it.
        from finpool.serving.llamacpp import LlamaCpp
        from finpool.serving.llamacpp_pooling import LlamaCppPooling

        settings = Settings()
        configure_logs(settings.log_level, "engine")
        log = logger("serving.application")
        model = _model(settings, model_id)
        weights = ensure_weights(model, settings, log.info)
        self._engine = LlamaCpp(model, weights) if model.chats else LlamaCppPooling(model, weights)
        self._weights_sha256 = model.weights_sha256
        self._token = settings.secret("engine_token")

    def __serve_build_asgi_app__(self) -> Any:
        """Return the routes; Serve calls this after the constructor."""
        return engine_app(self._engine, self._token, self._weights_sha256)


def build_app(args: ApplicationArgs) -> Application:
    """Return the application that serves one model; raise `ModelNotFound` for an id that is not in the catalogue."""
    settings = Settings()
    model = _model(settings, args.model_id)
    if isinstance(model.engine, OpenAiEngine):
        raise ConfigurationError(f"{model.id} is served by a remote engine: leave it out of what Ray serves")
    if isinstance(model.engine, VllmEngine):
        # Only machines that run vLLM have it, and importing it takes seconds.
        from finpool.serving.vllm_replica import build_vllm

        return build_vllm(model, settings)
    deployment = serve.deployment(
        name="engine",
        num_replicas=1,
        max_ongoing_requests=requests_ongoing_max(model),
        max_queued_requests=requests_queued_max(model),
        graceful_shutdown_timeout_s=settings.engine_drain_seconds,
        ray_actor_options={"num_cpus": model.engine.threads},
    )(Replica)
    application: Application = deployment.bind(model.id)
    return application


def route_prefix(model: Model) -> str:
    """Return the path under which Serve offers the engine of `model`."""
    return f"/engines/{model.id}"


def _model(settings: Settings, model_id: str) -> Model:
    return Catalogue.load(settings.catalogue_dir or default_directory()).get(model_id)
