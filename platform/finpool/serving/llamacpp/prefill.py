"""The prompts of llama.cpp, computed step by step, so that no prompt holds up another one for longer than a step.

llama.cpp itself computes a prompt to its end, up to the whole batch at a time and in the order of its slots. So a long
prompt is sent in parts: each request repeats the tokens before, which lie in the slot already, and adds a step. Between
two steps `PrefillTurns` decides whose prompt is next. Nothing is reused between two requests.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from finpool.catalogue.model.prefill_bound import LLAMACPP_STEP_TOKENS as STEP_TOKENS
from finpool.serving.engine.prefill_turns import PrefillTurns
from finpool.serving.engine.prompts import PROMPT_FIELD
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.llamacpp.slots import PartialPrompts, Slots
from finpool.serving.llamacpp.tokenizer import Tokenizer

SHORT_BYTES_MAX = 2 * STEP_TOKENS
"""A prompt of so few bytes is not tokenized in advance, because it takes two steps at most."""

_BYTES_PER_TOKEN = 4

Handle = Callable[[str, Callable[[str], bool]], None]
"""A request of llama.cpp in this process: it takes the body, and calls back with each chunk until that returns True."""


@dataclass(frozen=True, slots=True)
class BegunPrompt:
    """A prompt whose steps are computed, up to the last one. `request` computes that step and the answer.

    `computed` is called once llama.cpp has computed the last step; further calls do nothing.
    """

    request: dict[str, Any]
    computed: Callable[[], None]


class Prefill:
    """The prompts of one llama.cpp engine. Not thread-safe."""

    def __init__(
        self, slots: int, context_tokens: int, tokenizer: Tokenizer, complete: Handle, threads: ThreadPoolExecutor
    ) -> None:
        """Take llama.cpp's `complete`, which computes the steps in `threads`."""
        self._slots = Slots(slots)
        self._context_tokens = context_tokens
        self._tokenizer = tokenizer
        self._complete = complete
        self._threads = threads
        self._turns = PrefillTurns(STEP_TOKENS)
        self._partial = PartialPrompts()

    @asynccontextmanager
    async def begun(
        self, request: Mapping[str, Any], tenant: str, begin: Callable[[int], None]
    ) -> AsyncIterator[BegunPrompt]:
        """Compute all steps of a prompt but the last, and hold its slots within the block.

        `begin` is called with the prompt's tokens before its first step, if there are several. A cancellation takes
        effect after the step under way.
        """
        choices = request.get("n") or 1
        async with self._slots.taken(tenant, choices) as slot:
            tokens = await self._tokens(request)
            ends = range(STEP_TOKENS, len(tokens), STEP_TOKENS)
            with ExitStack() as held:
                if choices > 1:
                    await self._partial.enter_alone()
                    held.callback(self._partial.leave_alone)
                elif ends:
                    await self._partial.enter()
                    held.callback(self._partial.leave)
                for end in ends:
                    await self._turns.begin(tenant, STEP_TOKENS)
                    with self._turns.begun(tenant, STEP_TOKENS):
                        if end == STEP_TOKENS:
                            begin(len(tokens))
                        await self._step(tokens[:end], slot, first=end == STEP_TOKENS)
                rest = len(tokens) - (ends[-1] if ends else 0) or _tokens_of_a_short(request)
                await self._turns.begin(tenant, rest)
                held.enter_context(self._turns.begun(tenant, rest))
                yield BegunPrompt({**request, "id_slot": slot, "cache_prompt": bool(ends)}, held.close)

    async def _tokens(self, request: Mapping[str, Any]) -> Sequence[int]:
        """Return a prompt's tokens, or none for one that is short or that llama.cpp refuses."""
        if _prompt_bytes(request) <= SHORT_BYTES_MAX:
            return ()
        try:
            tokens = await self._tokenizer.tokens(request)
        except EngineRefused:
            return ()
        return tokens if len(tokens) < self._context_tokens else ()

    async def _step(self, tokens: Sequence[int], slot: int, *, first: bool) -> None:
        """Compute the last of `tokens`, after those that lie in the slot."""
        body = {PROMPT_FIELD: tokens, "n_predict": 0, "id_slot": slot, "cache_prompt": not first, "stream": False}
        failed = False

        def accept(answer: str) -> bool:
            nonlocal failed
            failed = "error" in orjson.loads(answer)
            return False

        def compute() -> None:
            self._complete(orjson.dumps(body).decode(), accept)

        # The slot and the turn are given back only when llama.cpp has ended the step.
        step = asyncio.get_running_loop().run_in_executor(self._threads, compute)
        try:
            await asyncio.shield(step)
        except asyncio.CancelledError:
            await step
            raise
        if failed:
            raise EngineFailed("The model failed to answer.")


def _prompt_bytes(request: Mapping[str, Any]) -> int:
    return len(orjson.dumps(request.get(PROMPT_FIELD) or request.get("messages")))


def _tokens_of_a_short(request: Mapping[str, Any]) -> int:
    return min(STEP_TOKENS, 1 + _prompt_bytes(request) // _BYTES_PER_TOKEN)
