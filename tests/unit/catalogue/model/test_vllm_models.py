"""Models of several files on vLLM, and their adapters: valid declarations and refused ones."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from model_declarations import CPU_ENGINE, CUDA_ENGINE, FILES, adapter_declaration, vllm_declaration
from pydantic import TypeAdapter, ValidationError

from finpool.catalogue.errors import CatalogueInvalid
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue
from finpool.catalogue.model.weights import SNAPSHOT_SUFFIXES, SnapshotFile
from finpool.kernel.ids import TenantId

LORA = {**CPU_ENGINE, "lora": {"slots": 2, "rank_max": 8}}
A, B = TenantId("bank-a"), TenantId("bank-b")


def load(directory: Path, *declarations: dict[str, Any]) -> Catalogue:
    for number, each in enumerate(declarations):
        (directory / f"{number}.yaml").write_text(yaml.safe_dump(each))
    return Catalogue.load(directory)


def refusal(directory: Path, *declarations: dict[str, Any]) -> str:
    with pytest.raises(CatalogueInvalid) as refused:
        load(directory, *declarations)
    return str(refused.value)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({**CPU_ENGINE, "accelerator": "H100"}, "no accelerators"),
        ({**CPU_ENGINE, "tensor_parallel": 2}, "no accelerators"),
        ({**CPU_ENGINE, "kv_cache_gibibytes": None}, "needs kv_cache_gibibytes"),
        ({**CUDA_ENGINE, "kv_cache_gibibytes": 4}, "accelerator_memory_percent"),
        ({**CUDA_ENGINE, "tensor_parallel": 2, "accelerator_percent": 50}, "a part of an accelerator"),
        ({**CUDA_ENGINE, "replicas_min": 3, "replicas_max": 2}, "replicas_min is above"),
        ({**CUDA_ENGINE, "trust_remote_code": True}, "engine.trust_remote_code"),
        ({**CUDA_ENGINE, "quantization": "magic"}, "engine.quantization"),
        ({"name": "llamacpp", "slots": 1, "threads": 1}, "safetensors"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(tmp_path: Path, engine: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, vllm_declaration(engine=engine))


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model.pt",
        "weights.pth",
        "x.ckpt",
        "x.pkl",
        "modeling.py",
        "../x.json",
        "/x.json",
        "a//b.json",
    ],
)
def test_files_that_could_run_or_lie_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    weights = {"source": "directory", "path": "/models/base", "files": {**FILES, name: "0" * 64}}
    assert name in refusal(tmp_path, vllm_declaration(weights=weights))


@given(st.text(min_size=1, max_size=40))
def test_only_formats_that_hold_nothing_but_data_are_ever_taken(name: str) -> None:
    try:
        taken = TypeAdapter(SnapshotFile).validate_python(name)
    except ValidationError:
        return
    assert taken.endswith(SNAPSHOT_SUFFIXES)
    assert ".." not in Path(taken).parts


def test_weights_without_safetensors_are_refused(tmp_path: Path) -> None:
    weights = {"source": "directory", "path": "/models/base", "files": {"config.json": "0" * 64}}
    assert "no .safetensors file" in refusal(tmp_path, vllm_declaration(weights=weights))


def test_the_weights_hash_changes_with_any_files_name_or_content() -> None:
    def sha256(files: dict[str, str]) -> str:
        weights = {"source": "directory", "path": "/models/base", "files": files}
        return Model.model_validate(vllm_declaration(weights=weights)).weights_sha256

    other_name = {**{name: each for name, each in FILES.items() if name != "config.json"}, "other.json": "1" * 64}
    hashes = [sha256(FILES), sha256({**FILES, "config.json": "9" * 64}), sha256(other_name)]
    assert len(set(hashes)) == 3
    assert sha256(dict(reversed(FILES.items()))) == hashes[0]


def test_an_adapter_is_a_model_on_its_bases_engine_with_a_price_and_weights_of_its_own(tmp_path: Path) -> None:
    catalogue = load(tmp_path, vllm_declaration(engine=LORA), adapter_declaration(tenants=["bank-b"]))
    base, tuned = catalogue.get("base"), catalogue.get("tuned")
    assert (tuned.engine_id, tuned.engine, tuned.context_tokens) == ("base", base.engine, base.context_tokens)
    assert tuned.weights_sha256 != base.weights_sha256
    assert tuned.price_version != base.price_version
    assert (tuned.open_to(A), tuned.open_to(B), base.open_to(A)) == (False, True, True)
    assert catalogue.with_engines() == (base,)
    assert catalogue.adapters_of(base.id) == (tuned,)


@pytest.mark.parametrize(
    ("base", "adapter", "words"),
    [
        ({}, {}, "takes no adapters"),
        ({"engine": LORA, "id": "other"}, {}, "no model 'base'"),
        ({"engine": LORA, "tenants": ["bank-a"]}, {}, "fewer tenants"),
        ({"engine": LORA, "tenants": ["bank-a"]}, {"tenants": ["bank-b"]}, "fewer tenants"),
        ({"engine": LORA}, {"confidential": True}, "needs tenants"),
        ({"engine": LORA}, {"confidential": True, "tenants": ["bank-b"]}, "a base of its own"),
        ({"engine": LORA}, {"weights": vllm_declaration()["weights"]}, "adapter_model.safetensors"),
        ({"engine": LORA}, {"engine": LORA}, "engine"),
    ],
)
def test_an_adapter_that_does_not_go_with_its_base_is_refused(
    tmp_path: Path, base: dict[str, Any], adapter: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, vllm_declaration(**base), adapter_declaration(**adapter))


def test_a_confidential_adapter_loads_on_an_engine_that_is_its_tenants_alone(tmp_path: Path) -> None:
    own = {"tenants": ["bank-b"]}
    catalogue = load(tmp_path, vllm_declaration(engine=LORA, **own), adapter_declaration(confidential=True, **own))
    assert not catalogue.get("base").open_to(A)
    assert catalogue.get("tuned").open_to(B)
