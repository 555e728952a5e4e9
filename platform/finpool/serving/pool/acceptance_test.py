"""The acceptance test of a version: its golden prompts, its capabilities, its speed and its memory on this pool."""

import asyncio
from dataclasses import dataclass
from typing import Any

from finpool.catalogue.model.schemas import GoldenPrompt, Model, TokenUsage
from finpool.catalogue.version.schemas import Measurements
from finpool.kernel.clock import monotonic_seconds, now
from finpool.kernel.errors import DomainError
from finpool.kernel.ids import RequestId, new_id
from finpool.serving.backend.service import Backends
from finpool.serving.pool.capability_proofs import Proven, chat_proofs, dimensions_proof, length_of
from finpool.serving.schemas import UNCOUNTED_FIELD, Operation

ANSWER_TOKENS = 16
"""Output tokens of the measured answers: enough for an average, and few enough for a slow engine."""

LONG_PROMPT_WORDS_MAX = 400
"""Words of the measured prompt; a model with a short context gets an eighth of its context tokens."""

_SENTENCE = "A bank lends what others have saved, and keeps a part of it back for those who come to ask for theirs. "
_QUESTION = "What is a bank?"


class AcceptanceFailed(Exception):
    """The version failed its test; the message names the failed check, but quotes no answer."""


@dataclass(frozen=True, slots=True)
class _Answer:
    proven: Proven
    choices: int
    first_seconds: float
    last_seconds: float

    @property
    def usage(self) -> TokenUsage:
        return self.proven.usage


class AcceptanceTest:
    """The test of one version on the engine that will serve it, over the gateway's connections."""

    def __init__(self, backends: Backends, model: Model) -> None:
        self._backends = backends
        self._model = _waited_for(model)

    async def run(self, *, load_ms: int) -> Measurements:
        """Send the golden prompts, prove the capabilities, then measure speed and memory; raise `AcceptanceFailed`."""
        for number, golden in enumerate(self._model.golden_prompts, 1):
            await self._require(number, golden)
        await self._require_capabilities()
        measured = await (self._chatting() if self._model.chats else self._vectors())
        figures = await self._backends.figures(self._model, "/memory")
        return Measurements(
            **measured,
            load_ms=load_ms,
            streams=self._model.engine.slots,
            memory_bytes=figures["bytes"],
            golden_prompts=len(self._model.golden_prompts),
            measured_at=now(),
        )

    async def _require_capabilities(self) -> None:
        """Ask for each declared capability, because an engine may take a field and not honour it."""
        proofs = chat_proofs(self._model)
        operation = Operation.CHAT if self._model.chats else Operation.EMBED
        if "dimensions" in self._model.capabilities:
            (vector,) = (await self._pool(_QUESTION)).proven.vectors or [[]]
            proofs["dimensions"] = dimensions_proof(length_of(vector))
        for capability, proof in proofs.items():
            try:
                fault = proof.fault((await self._answer(operation, proof.body)).proven)
            except AcceptanceFailed as error:
                fault = str(error)
            if fault is not None:
                raise AcceptanceFailed(f"the declared capability {capability} is not there: {fault}")

    async def _chatting(self) -> dict[str, int]:
        alone = await self._measured(_QUESTION)
        started = monotonic_seconds()
        together = await asyncio.gather(*(self._measured(_QUESTION) for _ in range(self._model.engine.slots)))
        together_seconds = monotonic_seconds() - started
        prompt = await self._chat(self._long_text(), output_tokens=1)
        return {
            "first_token_ms": round(1000 * alone.first_seconds),
            "input_tokens_per_second": _rate(prompt.usage.input_tokens, prompt.first_seconds),
            "output_tokens_per_second": _rate(alone.usage.output_tokens - 1, alone.last_seconds - alone.first_seconds),
            "output_tokens_per_second_full": _rate(
                sum(each.usage.output_tokens for each in together), together_seconds
            ),
        }

    async def _vectors(self) -> dict[str, int]:
        """Measure an embedding or rerank engine, which reads tokens and generates none."""
        alone = await self._pool(_QUESTION)
        started = monotonic_seconds()
        together = await asyncio.gather(*(self._pool(self._long_text()) for _ in range(self._model.engine.slots)))
        read_tokens = sum(each.usage.input_tokens for each in together)
        if not all(each.choices and each.usage.input_tokens for each in (alone, *together)):
            raise AcceptanceFailed("the engine computed nothing")
        return {
            "first_token_ms": round(1000 * alone.first_seconds),
            "input_tokens_per_second": _rate(read_tokens, monotonic_seconds() - started),
            "output_tokens_per_second": 0,
            "output_tokens_per_second_full": 0,
        }

    async def _require(self, number: int, golden: GoldenPrompt) -> None:
        tokens = min(golden.output_tokens_max, self._model.output_tokens_max)
        text = (await self._chat(golden.prompt, output_tokens=tokens)).proven.text.casefold()
        if not any(wanted.casefold() in text for wanted in golden.answer_has_one_of):
            raise AcceptanceFailed(f"the answer to golden prompt {number} holds none of its required texts")

    async def _measured(self, prompt: str) -> _Answer:
        tokens = min(ANSWER_TOKENS, self._model.output_tokens_max)
        answer = await self._chat(prompt, output_tokens=tokens, ignore_eos=True)
        if answer.usage.output_tokens < 1:
            raise AcceptanceFailed("the engine generated no token")
        return answer

    async def _chat(self, prompt: str, *, output_tokens: int, **fields: Any) -> _Answer:
        messages = [{"role": "user", "content": prompt}]
        body = {"messages": messages, "max_tokens": output_tokens, "temperature": 0, **fields}
        return await self._answer(Operation.CHAT, body)

    async def _pool(self, text: str) -> _Answer:
        if self._model.kind == "embedding":
            return await self._answer(Operation.EMBED, {"input": [text]})
        return await self._answer(Operation.RERANK, {"query": _QUESTION, "documents": [text]})

    async def _answer(self, operation: Operation, body: dict[str, Any]) -> _Answer:
        started = monotonic_seconds()
        first = last = 0.0
        usage, found = TokenUsage(0, 0, 0), list[list[dict[str, Any]]]()
        try:
            request_id = RequestId(new_id("test"))
            stream = await self._backends.ask(operation, self._model, {**body, UNCOUNTED_FIELD: True}, request_id)
            try:
                await stream.begun()
                async for chunks in stream:
                    usage = chunks.usage or usage
                    if usage.output_tokens or operation is not Operation.CHAT:
                        last = monotonic_seconds() - started
                        first = first or last
                    found += chunks.choices
            finally:
                stream.close()
        except DomainError as error:
            raise AcceptanceFailed(f"the engine failed: {error.message}") from error
        return _Answer(Proven.of(found, usage), sum(map(len, found)), first, last)

    def _long_text(self) -> str:
        words = min(LONG_PROMPT_WORDS_MAX, self._model.context_tokens // 8)
        return " ".join((_SENTENCE * (1 + words // 20)).split()[:words])


def _waited_for(model: Model) -> Model:
    """Return the model with `cold_start` queue: its engine may have gone to sleep during other tests."""
    engine = model.engine.model_copy(update={"cold_start": "queue"})
    return model.model_copy(update={"engine": engine})


def _rate(tokens: int, seconds: float) -> int:
    """Return tokens per second, with at least one millisecond as the time."""
    return round(tokens / max(seconds, 0.001))
