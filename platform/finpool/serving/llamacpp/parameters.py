"""The start parameters of llama.cpp, built from a model's declaration in this file only."""

import secrets
from pathlib import Path

import xllamacpp

from finpool.catalogue.model.engine import EXPRESS_SLOTS, LlamaCppEngine
from finpool.catalogue.model.prefill_bound import LLAMACPP_STEP_TOKENS
from finpool.catalogue.model.schemas import Model

_POOLING = {
    "mean": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN,
    "cls": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS,
    "last": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST,
    "rank": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK,
}


def chat_parameters(model: Model, weights: Path) -> xllamacpp.CommonParams:
    """Return the parameters for a chat model."""
    parameters = _parameters(model, weights)
    # One step of prompts, and a token of each running answer.
    parameters.n_batch = parameters.n_ubatch = LLAMACPP_STEP_TOKENS + parameters.n_parallel
    return parameters


def vector_parameters(model: Model, weights: Path) -> xllamacpp.CommonParams:
    """Return the parameters for an embedding or rerank model; one batch holds a whole input, up to the context."""
    parameters = _parameters(model, weights)
    parameters.embedding = True
    # llama.cpp divides a batch evenly between its slots in its memory plan, and aborts on a remainder.
    per_slot = -(-model.context_tokens // parameters.n_parallel)
    parameters.n_batch = parameters.n_ubatch = per_slot * parameters.n_parallel
    if isinstance(model.engine, LlamaCppEngine) and model.engine.pooling is not None:
        parameters.pooling_type = _POOLING[model.engine.pooling]
    return parameters


def _parameters(model: Model, weights: Path) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.model_alias = {model.id}
    parameters.n_parallel = model.engine.slots + EXPRESS_SLOTS
    parameters.n_ctx = parameters.n_parallel * model.context_tokens
    parameters.cpuparams.n_threads = model.engine.threads
    parameters.cpuparams_batch.n_threads = model.engine.threads
    parameters.fit_params = False
    parameters.warmup = True
    # No tenant may find another's prompt in a cache, neither in a slot nor in memory.
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    # llama.cpp opens a listener on loopback. Only this process uses it, so only this process has the key.
    parameters.api_keys = [secrets.token_hex(32)]
    parameters.ui = False
    parameters.endpoint_slots = False
    # Log errors only: higher levels would write prompts to the logs.
    parameters.verbosity = 1
    return parameters
