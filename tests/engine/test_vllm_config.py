"""The catalogue's options as those of Ray and vLLM; needs both, so `make test-vllm` runs it."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from model_declarations import CPU_ENGINE, CUDA_ENGINE, vllm_declaration

from finpool.catalogue.model.schemas import Model
from finpool.kernel.settings import Settings

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="`make test-vllm` runs these"),
    # Importing vLLM and torch warns of their own future changes.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]

WEIGHTS = Path("/models/base")


def configured(**engine: Any) -> Any:
    from finpool.serving.vllm.config import llm_config

    model = Model.model_validate(vllm_declaration(engine=engine))
    return llm_config(model, (), WEIGHTS, Settings())


def test_what_would_harm_by_default_is_overridden() -> None:
    config = configured(**CUDA_ENGINE)
    options = config.engine_kwargs
    assert (options["load_format"], options["trust_remote_code"]) == ("safetensors", False)
    assert options["enable_prompt_tokens_details"] is True
    assert config.deployment_config["max_ongoing_requests"] < 10_000
    assert config.deployment_config["max_queued_requests"] > 0
    environment = config.runtime_env["env_vars"]
    assert environment["VLLM_NO_USAGE_STATS"] == environment["HF_HUB_OFFLINE"] == "1"


def test_a_batch_has_the_declared_slots_and_one_for_who_has_nothing_under_way() -> None:
    assert configured(**CUDA_ENGINE).engine_kwargs["max_num_seqs"] == CUDA_ENGINE["slots"] + 1


@pytest.mark.parametrize("engine", [CUDA_ENGINE, CPU_ENGINE], ids=["cuda", "cpu"])
def test_four_choices_of_a_prompt_leave_half_a_step_to_newcomers(engine: dict[str, Any]) -> None:
    options = configured(**engine).engine_kwargs
    answers = engine["slots"] + 1
    step = options["max_num_batched_tokens"] - answers
    assert 4 * options["long_prefill_token_threshold"] <= step // 2


@pytest.mark.parametrize(
    ("engine", "bundles"),
    [
        ({**CUDA_ENGINE, "tensor_parallel": 2, "pipeline_parallel": 2}, [{"GPU": 1}] * 4),
        ({**CUDA_ENGINE, "accelerator_percent": 25}, [{"GPU": 0.25}]),
        (CPU_ENGINE, [{"CPU": 2}]),
    ],
)
def test_a_replica_takes_the_accelerators_that_it_declares(engine: dict[str, Any], bundles: list[Any]) -> None:
    config = configured(**engine)
    assert config.placement_group_config["bundles"] == bundles
    # vLLM takes every option: an unknown one fails here, not on a node.
    assert config.get_engine_config().placement_bundles == bundles


def test_an_accelerator_that_ray_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="Unsupported accelerator"):
        configured(**CUDA_ENGINE, accelerator="Abacus")


def test_replicas_grow_with_what_is_under_way_between_their_bounds() -> None:
    scaling = configured(**CUDA_ENGINE, replicas_min=2, replicas_max=6).deployment_config["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (2, 6)
    assert scaling["target_ongoing_requests"] == CUDA_ENGINE["slots"]


def test_on_cpu_cores_a_base_has_room_for_the_adapter_of_zeros_and_on_accelerators_it_needs_none() -> None:
    lora = {"slots": 2, "rank_max": 8}
    assert configured(**CPU_ENGINE, lora=lora).engine_kwargs["max_loras"] == 3
    assert configured(**CUDA_ENGINE, lora=lora).engine_kwargs["max_loras"] == 2
