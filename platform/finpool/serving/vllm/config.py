"""The `ray.serve.llm` configuration of a model, built from its declaration in this file only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.serve.llm import LLMConfig

from finpool.catalogue.model.engine import EXPRESS_SLOTS, LoraSlots, VllmEngine
from finpool.catalogue.model.prefill_bound import VLLM_STEP_TOKENS
from finpool.catalogue.model.schemas import Model
from finpool.kernel.settings import Settings
from finpool.serving.engine.replicas import replica_options

TOP_LOGPROBS_MAX = 20
_DECLARED = "finpool_declarations"
"""The key of the platform's own data in Ray's configuration, which the engine replica gets unchanged."""

_ENVIRONMENT = {
    # No usage reports and no downloads: weights are verified files on this node.
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # Its grammars of calls are xgrammar's, which the backend guidance refuses: every request with tools would fail.
    "VLLM_ENFORCE_STRICT_TOOL_CALLING": "0",
    # At INFO, vLLM logs its throughput every ten seconds. Its errors stay.
    "VLLM_LOGGING_LEVEL": "WARNING",
}


def llm_config(
    model: Model, adapters: Sequence[Model], weights: Path, settings: Settings, *, asleep: bool = False
) -> LLMConfig:
    """Return the configuration that serves `model` from the files in `weights`, with the declarations of its adapters.

    Raises `ValueError` for options that Ray or vLLM reject, such as an unknown accelerator.
    """
    engine = _vllm(model)
    return LLMConfig(
        model_loading_config={"model_id": model.id, "model_source": str(weights)},
        accelerator_type=engine.accelerator,
        accelerator_config={"kind": "cpu" if engine.device == "cpu" else "gpu"},
        placement_group_config={"bundles": _bundles(engine), "strategy": "PACK"},
        engine_kwargs=_engine_options(model, engine),
        deployment_config=_deployment_options(engine, settings, asleep=asleep),
        callback_config={"callback_class": "finpool.serving.vllm.weights_callback:WeightsInPlace"},
        runtime_env={"env_vars": _environment(engine)},
        # vLLM's own counters in the engine replica's process serve the reconciliation of usage.
        log_engine_metrics=False,
        experimental_configs={_DECLARED: [each.model_dump(mode="json") for each in (model, *adapters)]},
    )


def declared_in(config: LLMConfig) -> tuple[Model, list[Model]]:
    """Return the model and the adapters of a configuration."""
    model, *adapters = (Model.model_validate(each) for each in config.experimental_configs[_DECLARED])
    return model, adapters


def needs_neutral(engine: VllmEngine) -> bool:
    """Tell whether requests to the base model use the neutral adapter."""
    return engine.device == "cpu" and engine.lora is not None


def lora_slots(engine: VllmEngine, lora: LoraSlots) -> int:
    """Return the number of adapters in one batch."""
    return lora.slots + needs_neutral(engine)


def _vllm(model: Model) -> VllmEngine:
    if not isinstance(model.engine, VllmEngine):
        raise TypeError(f"{model.id} is not declared for vLLM")
    return model.engine


def _bundles(engine: VllmEngine) -> list[dict[str, float]]:
    """Return the resources of each worker of the engine; Serve adds the engine replica's own cores to the first."""
    if engine.device == "cpu":
        return [{"CPU": engine.threads}]
    return [{"GPU": engine.accelerator_percent / 100} for _ in range(engine.accelerators)]


def _engine_options(model: Model, engine: VllmEngine) -> dict[str, Any]:
    options: dict[str, Any] = {
        "max_model_len": model.context_tokens,
        "max_num_seqs": engine.slots + EXPRESS_SLOTS,
        "max_logprobs": TOP_LOGPROBS_MAX,
        "dtype": engine.dtype,
        "enforce_eager": engine.eager,
        "tensor_parallel_size": engine.tensor_parallel,
        "pipeline_parallel_size": engine.pipeline_parallel,
        # vLLM loads no pickle and runs no code of a model's authors.
        "load_format": "safetensors",
        "trust_remote_code": False,
        # Each request carries its tenant's salt, so the prefix cache never reveals another tenant's prompt.
        "enable_prefix_caching": True,
        "enable_prompt_tokens_details": True,
        "enable_log_requests": False,
        "disable_log_stats": False,
        # The library of llama.cpp's grammars: it refuses a schema that it cannot enforce. By default vLLM chooses
        # another one for each request, and not all refuse.
        "structured_outputs_config": {"backend": "guidance"},
    }
    options |= _prefill_options(model, engine) if model.chats else _vector_options(engine)
    if engine.device == "cuda":
        options["gpu_memory_utilization"] = engine.accelerator_memory_percent / 100
    if engine.quantization is not None:
        options["quantization"] = engine.quantization
    if engine.tool_call_parser is not None:
        options |= {"enable_auto_tool_choice": True, "tool_call_parser": engine.tool_call_parser}
    if engine.reasoning_parser is not None:
        options["reasoning_parser"] = engine.reasoning_parser
    if engine.lora is not None:
        options |= {
            "enable_lora": True,
            "max_loras": lora_slots(engine, engine.lora),
            "max_lora_rank": engine.lora.rank_max,
        }
    return options


def _prefill_options(model: Model, engine: VllmEngine) -> dict[str, Any]:
    """Return the bounds of one step: its prompts, beside a token of each running answer, and one prompt's part.

    vLLM fills a step in the order of arrival. With its defaults one long prompt takes whole steps, so the next request
    waits for its end.
    """
    return {
        "max_num_batched_tokens": VLLM_STEP_TOKENS[engine.device] + engine.slots + EXPRESS_SLOTS,
        "long_prefill_token_threshold": min(engine.prefill_bound.prompt_tokens, model.context_tokens),
    }


def _vector_options(engine: VllmEngine) -> dict[str, Any]:
    """Return the options of an embedding or rerank model: no request reuses another one's cache."""
    options: dict[str, Any] = {"runner": "pooling", "enable_prefix_caching": False}
    if engine.pooling is not None:
        options["pooler_config"] = {"pooling_type": engine.pooling.upper()}
    return options


def _deployment_options(engine: VllmEngine, settings: Settings, *, asleep: bool) -> dict[str, Any]:
    """Return Serve's options; without them `ray.serve.llm` would queue any number of requests inside the engine."""
    return {
        **replica_options(engine, settings, asleep=asleep),
        "ray_actor_options": {"num_cpus": 0 if engine.device == "cpu" else engine.threads},
    }


def _environment(engine: VllmEngine) -> dict[str, str]:
    if engine.device == "cuda":
        return dict(_ENVIRONMENT)
    return _ENVIRONMENT | {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": str(engine.kv_cache_gibibytes),
        # Ray has assigned the cores already; vLLM would bind itself to cores of its own choice.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(engine.threads),
    }
