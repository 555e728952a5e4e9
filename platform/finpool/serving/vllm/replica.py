"""An engine replica of `ray.serve.llm` with the platform's routes: Ray starts vLLM, and only the gateway reaches it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import serve
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.serve import Application
from ray.serve.llm import LLMConfig, LLMServer, build_llm_deployment

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.model.engine import VllmEngine
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.weights.service import ensure_weights, snapshot_location
from finpool.kernel.logs import configure_logs, logger
from finpool.kernel.settings import Settings
from finpool.serving.counters import counts_file
from finpool.serving.engine.liveness import Liveness
from finpool.serving.engine.routes import engine_app
from finpool.serving.engine.scaling import SERVICE_AHEAD
from finpool.serving.engine.work_ahead import WorkAhead
from finpool.serving.errors import EngineFailed
from finpool.serving.vllm.config import declared_in, llm_config, needs_neutral
from finpool.serving.vllm.engine import Vllm
from finpool.serving.vllm.neutral_adapter import NEUTRAL, write_neutral
from finpool.serving.vllm.tokenizer_files import read_control_tokens
from finpool.serving.vllm.vectors import VllmVectors, require_scoring


@serve.ingress()
class VllmReplica(LLMServer):
    """One vLLM engine replica. It reads weights and token on its own node."""

    async def __init__(self, llm_config: LLMConfig) -> None:  # type: ignore[misc]  # Serve awaits constructors.
        self._settings = Settings()
        configure_logs(self._settings.log_level, "engine")
        self._log = logger("serving.vllm")
        model, adapters = declared_in(llm_config)
        self._token = self._settings.secret("engine_token")
        await asyncio.to_thread(ensure_weights, model, self._settings, self._log.info)
        await super().__init__(llm_config)
        vllm_engine: Any = self.engine
        loaded = await self._load(vllm_engine, adapters)
        base_name: str = model.id
        if loaded and isinstance(model.engine, VllmEngine) and needs_neutral(model.engine):
            base_name = NEUTRAL
            await self._load_neutral(vllm_engine, next(iter(loaded.values())), len(loaded) + 1)
        directory = snapshot_location(model, self._settings)
        self._vllm = await asyncio.to_thread(_engine, model, vllm_engine, base_name, frozenset(loaded), directory)
        self._vllm.counters.keep_in(counts_file(self._settings.home, model.engine_key))
        self._liveness = Liveness(self._vllm)
        self._ahead = WorkAhead()
        # The first request takes seconds longer than others, so the engine replica sends it itself.
        if not await self._vllm.healthy():
            raise EngineFailed(f"The model {model.id} gave nothing when it was started.")

    async def __serve_build_asgi_app__(self) -> Any:
        """Return the platform's routes instead of vLLM's, which accept salts and commands from any caller."""
        return engine_app(self._vllm, self._token, self._vllm.model.weights_sha256, self._ahead)

    async def check_health(self) -> None:
        """Raise if the engine is not alive; Serve calls this periodically and restarts a failing engine replica."""
        await super().check_health()
        await self._liveness.require()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the engine replica's work ahead; Serve calls this periodically for its autoscaling policy."""
        return {SERVICE_AHEAD: self._ahead.service}

    async def _load(self, vllm_engine: Any, adapters: Sequence[Model]) -> dict[str, Path]:
        """Load the adapters by SHA-256 and skip a broken one, so that it stops no other model."""
        loaded: dict[str, Path] = {}
        for number, adapter in enumerate(adapters, 1):
            try:
                directory = await asyncio.to_thread(ensure_weights, adapter, self._settings, self._log.info)
                await vllm_engine.resolve_lora(_named(adapter.weights_sha256, directory, number))
            except (WeightsUnavailable, ValueError) as error:
                self._log.error("an adapter cannot be served", model=adapter.id, reason=str(error))
            else:
                loaded[adapter.weights_sha256] = directory
        return loaded

    async def _load_neutral(self, vllm_engine: Any, adapter: Path, number: int) -> None:
        # vLLM reads the files again after it has swapped the adapter out, so they stay.
        directory = self._settings.weights_path / NEUTRAL / adapter.name
        await asyncio.to_thread(write_neutral, adapter, directory)
        await vllm_engine.resolve_lora(_named(NEUTRAL, directory, number))


def _engine(
    model: Model, vllm_engine: Any, base_name: str, adapters: frozenset[str], directory: Path
) -> Vllm | VllmVectors:
    control_tokens = read_control_tokens(directory)
    if model.chats:
        return Vllm(
            model,
            vllm_engine,
            vllm_engine._app_state.serving_tokenization,
            base_name=base_name,
            adapters=adapters,
            control_tokens=control_tokens,
        )
    if model.kind == "rerank":
        require_scoring(model, vllm_engine._app_state.serving_scores)
    return VllmVectors(model, vllm_engine, base_name=base_name, adapters=adapters, control_tokens=control_tokens)


def _named(name: str, directory: Path, number: int) -> DiskMultiplexConfig:
    return DiskMultiplexConfig(
        model_id=name, max_total_tokens=None, local_path=str(directory), lora_assigned_int_id=number
    )


def build_vllm(model: Model, adapters: Sequence[Model], settings: Settings, *, asleep: bool) -> Application:
    """Return the Serve application of `model` and its adapters with vLLM."""
    application: Application = build_llm_deployment(
        llm_config(model, adapters, snapshot_location(model, settings), settings, asleep=asleep),
        override_serve_options={"name": "engine"},
        deployment_cls=VllmReplica,
    )
    return application
