"""The Ray Serve application of one model. A RayService names `finpool.serving.cluster.application:build_app`."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from finpool.catalogue.model.engine import OpenAiEngine, VllmEngine
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.weights.service import ensure_weights
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.logs import configure_logs, logger
from finpool.kernel.settings import Settings
from finpool.serving.counters import counts_file
from finpool.serving.engine.liveness import Liveness
from finpool.serving.engine.replicas import replica_options
from finpool.serving.engine.routes import engine_app
from finpool.serving.engine.scaling import SERVICE_AHEAD
from finpool.serving.engine.work_ahead import WorkAhead
from finpool.serving.llamacpp.threads import let_threads_sleep


class ApplicationArgs(BaseModel):
    """Arguments of `build_app`: the id of a model in this node's catalogue.

    For a version outside that catalogue, `declaration` and the `adapters` replace the catalogue's entries. `asleep`
    starts an engine that may sleep without a replica; the caller has tested it before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str
    declaration: Model | None = None
    adapters: tuple[Model, ...] = ()
    asleep: bool = False


@serve.ingress()
class Replica:
    """One engine replica. It reads weights and token on its own node; only the model's declaration is sent to it."""

    def __init__(self, declaration: dict[str, Any]) -> None:
        let_threads_sleep()
        # Only engine replicas load the engine's library, so the deploying process does not need it.
        from finpool.serving.llamacpp.engine import LlamaCpp
        from finpool.serving.llamacpp.vectors import LlamaCppVectors

        settings = Settings()
        configure_logs(settings.log_level, "engine")
        log = logger("serving.application")
        model = Model.model_validate(declaration)
        weights = ensure_weights(model, settings, log.info)
        self._engine = LlamaCpp(model, weights) if model.chats else LlamaCppVectors(model, weights)
        self._engine.counters.keep_in(counts_file(settings.home, model.engine_key))
        self._liveness = Liveness(self._engine)
        self._weights_sha256 = model.weights_sha256
        self._token = settings.secret("engine_token")
        self._ahead = WorkAhead()

    def __serve_build_asgi_app__(self) -> Any:
        """Return the engine replica's routes; Serve calls this after the constructor."""
        return engine_app(self._engine, self._token, self._weights_sha256, self._ahead)

    async def check_health(self) -> None:
        """Raise `EngineFailed` if the engine is not alive; Serve calls this periodically and restarts a failing engine
        replica.
        """
        await self._liveness.require()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the engine replica's work ahead; Serve calls this periodically for its autoscaling policy."""
        return {SERVICE_AHEAD: self._ahead.service}


def build_app(args: ApplicationArgs) -> Application:
    """Return the Serve application of one model; raise `ModelNotFound` for an unknown id."""
    settings = Settings()
    model, adapters = args.declaration, args.adapters
    if model is None:
        catalogue = Catalogue.load(settings.catalogue_dir or default_directory())
        model = catalogue.get(args.model_id)
        adapters = catalogue.adapters_of(model.id)
    if isinstance(model.engine, OpenAiEngine):
        raise ConfigurationError(f"{model.id} is served by a remote engine: leave it out of Ray's applications")
    if isinstance(model.engine, VllmEngine):
        # Only machines with vLLM can import it, and the import takes seconds.
        from finpool.serving.vllm.replica import build_vllm

        return build_vllm(model, adapters, settings, asleep=args.asleep)
    deployment = serve.deployment(
        name="engine",
        ray_actor_options={"num_cpus": model.engine.threads},
        **replica_options(model.engine, settings, asleep=args.asleep),
    )(Replica)
    application: Application = deployment.bind(model.model_dump(mode="json"))
    return application
