"""What llama.cpp is started with: the one place where a model's declaration becomes the engine's options."""

import secrets
from pathlib import Path

import xllamacpp

from finpool.catalogue.model.engine import EXPRESS_SLOTS, LlamaCppEngine
from finpool.catalogue.model.schemas import Model

BATCH_TOKENS = 512
"""A prompt is computed in pieces of this size: between two, others get their tokens and an abort is noticed."""

_POOLING = {
    "mean": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN,
    "cls": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS,
    "last": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST,
    "rank": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK,
}


def chat_parameters(model: Model, weights: Path) -> xllamacpp.CommonParams:
    """Return the options for a model that completes chats."""
    parameters = _parameters(model, weights)
    parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
    return parameters


def vector_parameters(model: Model, weights: Path) -> xllamacpp.CommonParams:
    """Return the options for a model that embeds or ranks: it takes each input as one batch, so the context is one."""
    parameters = _parameters(model, weights)
    parameters.embedding = True
    # llama.cpp divides a batch evenly between its slots when it plans its memory, and aborts if that does not come out.
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
    # No tenant may find another's prompt in a cache: neither in a slot nor in memory.
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    # llama.cpp opens a listener of its own on loopback. Only the tokenizer uses it, so nobody else gets its key.
    parameters.api_keys = [secrets.token_hex(32)]
    parameters.ui = False
    parameters.endpoint_slots = False
    # Only errors: at higher levels prompts would reach the logs.
    parameters.verbosity = 1
    return parameters
