"""The seams of serving: the protocols between the gateway, an engine's routes and the pool's loop.

The seams to vLLM and Ray, which are not ours, are in `vllm/protocols.py`.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, Protocol

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.node.schemas import Node
from finpool.serving.counters import Counters
from finpool.serving.schemas import EngineChunks


class EngineStream(Protocol):
    """An engine's answer as it arrives. A waiting caller may be cancelled and wait again without losing data."""

    async def begun(self) -> None:
        """Wait until the answer begins; raise `EngineRefused`, `EngineUnavailable` or `EngineFailed` if it fails."""

    def __aiter__(self) -> AsyncIterator[EngineChunks]:
        """Return the iterator over the chunks; it raises `EngineFailed` if the engine breaks off."""

    @property
    def more_is_here(self) -> bool:
        """Whether more chunks or the end have already arrived, so that the caller may pass them on together."""

    @property
    def estimates(self) -> bool:
        """Whether the usage so far is an estimate, because the engine has reported none."""

    def close(self) -> None:
        """Stop reading; the engine stops generating."""


class RunningGeneration(Protocol):
    """A running computation: an iterator over chunks (see `EngineChunks`), each with the usage so far."""

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Return the iterator over the chunks."""

    def __anext__(self) -> Awaitable[dict[str, Any]]:
        """Return the next chunk; raise `EngineRefused` or `EngineFailed`."""

    def abort(self) -> None:
        """Stop computing; after the end it does nothing."""


class Engine(Protocol):
    """An engine as its routes call it; llama.cpp and vLLM implement it.

    An engine refuses operations that its model does not support.
    """

    counters: Counters

    def generate(self, body: Mapping[str, Any]) -> RunningGeneration:
        """Start a chat completion; raise `EngineRefused` for a request that this engine cannot serve."""

    def complete(self, body: Mapping[str, Any]) -> RunningGeneration:
        """Start to complete the texts of `prompt`; raise `EngineRefused` for a request that it cannot serve."""

    def embed(self, body: Mapping[str, Any]) -> RunningGeneration:
        """Start to embed the texts of `input`; raise `EngineRefused` for a request that this engine cannot serve."""

    def rerank(self, body: Mapping[str, Any]) -> RunningGeneration:
        """Start to rank `documents` for `query`; raise `EngineRefused` for a request that this engine cannot serve."""

    async def count_input_tokens(self, body: Mapping[str, Any]) -> int:
        """Return the exact number of input tokens of a conversation, or of a text completion's prompts together."""

    async def healthy(self) -> bool:
        """Tell whether the engine computes a token, a vector or a score now."""


class Engines(Protocol):
    """The cluster of engines as the pool's loop calls it; `RayEngines` implements it."""

    async def missing_resources(self, model: Model) -> str | None:
        """Return the missing resources for one more engine of `model` as a text, or None if it fits."""

    async def deploy(self, model: Model, adapters: Sequence[Model], *, asleep: bool) -> None:
        """Deploy the engine unless it is deployed; `asleep` starts an engine that may sleep without a replica."""

    async def running(self, model: Model) -> bool:
        """Tell whether the engine is up; raise `EngineFailed` with the reason if it cannot start."""

    async def deployed(self) -> set[str]:
        """Return the keys of the engines that are deployed and have not ended."""

    async def nodes(self) -> list[Node]:
        """Return the nodes with their total and free resources."""

    async def delete(self, key: str) -> None:
        """Start to delete an engine."""
