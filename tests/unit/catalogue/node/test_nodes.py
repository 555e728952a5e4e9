"""How many engines fit into what is free on a node."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_declarations import CPU_ENGINE, CUDA_ENGINE, vllm_declaration

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.node.schemas import EngineNeeds, Node


def node(**changes: Any) -> Node:
    fields = {
        "node_id": "n",
        "cpus": 64,
        "cpus_free": 64,
        "accelerator": "H100",
        "accelerators": 8,
        "accelerators_free_percent": 800,
        "memory_bytes": 0,
        "seen_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    return Node(**{**fields, **changes})


def needs(**engine: Any) -> EngineNeeds:
    return EngineNeeds.of(Model.model_validate(vllm_declaration(engine={**CUDA_ENGINE, **engine})))


@pytest.mark.parametrize(
    ("engine", "free", "fitting"),
    [
        ({}, {}, 8),
        ({"tensor_parallel": 4}, {}, 2),
        ({"tensor_parallel": 4}, {"accelerators_free_percent": 799}, 1),
        ({"tensor_parallel": 4, "pipeline_parallel": 2}, {}, 1),
        ({"accelerator_percent": 25}, {"cpus_free": 1000, "accelerators_free_percent": 300}, 12),
        ({"threads": 32}, {}, 2),
        ({"accelerator": "H100"}, {"accelerator": "A100"}, 0),
        ({"accelerator": "H100"}, {}, 8),
        ({}, {"accelerators": 0, "accelerators_free_percent": 0}, 0),
    ],
)
def test_cores_whole_accelerators_parts_and_kinds_all_bound_what_fits(
    engine: dict[str, Any], free: dict[str, Any], fitting: int
) -> None:
    assert needs(**engine).fit_on(node(**free)) == fitting


def test_an_engine_on_cores_takes_no_accelerator() -> None:
    cpu = EngineNeeds.of(Model.model_validate(vllm_declaration(engine={**CPU_ENGINE, "threads": 16})))
    assert cpu.fit([node(), node(node_id="small", cpus_free=15)]) == {"n": 4}


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 64), st.integers(0, 800))
def test_what_fits_never_takes_more_than_is_free(accelerators: int, threads: int, cpus: int, free_percent: int) -> None:
    wanted = needs(tensor_parallel=accelerators, threads=threads)
    fitting = wanted.fit_on(node(cpus_free=cpus, accelerators_free_percent=free_percent))
    assert fitting * wanted.cpus <= cpus
    assert fitting * wanted.accelerator_percent <= free_percent
