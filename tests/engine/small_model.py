"""A catalogue for vLLM: `python small_model.py CACHE CATALOGUE` writes it, and the weights that it declares.

The one file that a package mirror carries is llama.cpp's format, which vLLM does not read: it becomes safetensors,
once. Two adapters of random numbers belong to bank B.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.weights.service import ensure_weights
from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"
ADAPTERS = ("smollm2-bank-b-one", "smollm2-bank-b-two")
ADAPTERS_TENANT = "bank-b"
DEVICE_VARIABLE = "FINPOOL_TEST_DEVICE"
"""`cuda` declares the model for an accelerator, anything else for CPU cores."""

# 32 bits: with 16 a request's greedy answer may depend on the rest of its batch, and tests compare answers.
_EXACT = {"name": "vllm", "dtype": "float32", "lora": {"slots": 2, "rank_max": 8}}
_CPU = {**_EXACT, "device": "cpu", "slots": 4, "threads": 2, "kv_cache_gibibytes": 1, "eager": True}
_CUDA = {**_EXACT, "device": "cuda", "slots": 64, "threads": 2, "accelerator_memory_percent": 50}
_FORMAT = 1
"""Raise it when what `_convert` writes changes: an older cache is then made anew."""


def converted(cache: Path) -> Path:
    """Return the directory with the small model's safetensors, its tokenizer and its chat template."""
    model = Catalogue.load(default_directory()).get(MODEL)
    target = cache / f"{model.weights_sha256[:16]}-{_FORMAT}"
    if not target.is_dir():
        file = ensure_weights(model, Settings(weights_dir=cache.parent / "weights"), print)
        scratch = target.with_suffix(".partial")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _convert(file, scratch)
        scratch.rename(target)
    return target


def write_catalogue(cache: Path, directory: Path) -> None:
    """Declare the small model for vLLM on CPU cores, under the same id and price as by default, and its adapters."""
    from adapters import random_adapter

    weights = converted(cache)
    default = Catalogue.load(default_directory()).get(MODEL).model_dump(mode="json", exclude={"engine", "weights"})
    del default["base"], default["tenants"]
    engine = _CUDA if os.environ.get(DEVICE_VARIABLE) == "cuda" else _CPU
    # The template of these weights knows no tools, and the model repeats required calls until its tokens are used up.
    model = {**default, "version": "1", "capabilities": ["json_schema", "logprobs"]}
    model |= {"engine": engine, "weights": directory_weights(weights)}
    declared = [model]
    for seed, name in enumerate(ADAPTERS):
        target = cache / f"{weights.name}-adapter-{seed}"
        shutil.rmtree(target, ignore_errors=True)
        adapter = {"id": name, "base": MODEL, "title": name, "weights": random_adapter(weights, target, seed)}
        declared.append({**adapter, "tenants": [ADAPTERS_TENANT], "licence": "Apache-2.0", "price": default["price"]})
    directory.mkdir(parents=True, exist_ok=True)
    for each in declared:
        (directory / f"{each['id']}.yaml").write_text(yaml.safe_dump(each), encoding="utf-8")


def directory_weights(directory: Path) -> dict[str, Any]:
    """Return the declaration of a directory's files, each with its SHA-256."""
    files = {
        str(each.relative_to(directory)): hashlib.sha256(each.read_bytes()).hexdigest()
        for each in sorted(directory.rglob("*"))
        if each.is_file()
    }
    return {"source": "directory", "path": str(directory), "files": files}


def _convert(file: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).to(torch.bfloat16)
    # The weights are plain numbers from here on; vLLM would look for a reader of the old format.
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(target, safe_serialization=True)


if __name__ == "__main__":
    write_catalogue(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
