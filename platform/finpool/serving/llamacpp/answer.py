"""The answer of llama.cpp as OpenAI's chunks, each with the usage so far."""

import time
from typing import Any

from finpool.catalogue.model.schemas import TokenUsage
from finpool.serving.engine.usage_object import usage_object
from finpool.serving.errors import CONTEXT_LENGTH_EXCEEDED, EngineFailed, EngineRefused


class LlamaCppAnswer:
    """The state of one answer. `usage` counts the engine's tokens so far, over all choices.

    With n > 1 llama.cpp computes the prompt once and copies it for the other choices, so it counts once. The prompt
    counts in full as soon as the engine begins it. `refusal` is the error to raise if the engine refuses the request.
    """

    def __init__(self, model_id: str, answer_id: str, refusal: EngineRefused) -> None:
        self.refusal = refusal
        self._constant = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model_id,
        }
        self._input_tokens = 0
        self._cached_input_tokens = 0
        self._output_tokens: dict[int, int] = {}
        self._introduced: set[int] = set()
        self._last_index = 0

    @property
    def usage(self) -> TokenUsage:
        """Tokens that the engine has computed so far."""
        return TokenUsage(self._input_tokens, self._cached_input_tokens, sum(self._output_tokens.values()))

    def accept(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """Count a chunk of the engine and return it for the caller, or None if it holds only counts.

        Raises `EngineRefused` or `EngineFailed` if the chunk is an error.
        """
        if "error" in chunk:
            raise self._error(chunk["error"])
        self._count(chunk)
        if not chunk.get("choices"):
            return None
        choice = chunk["choices"][0]
        if choice["finish_reason"] is None and "role" in choice["delta"]:
            if choice["index"] in self._introduced:
                return None
            self._introduced.add(choice["index"])
            choice["delta"] = {"role": "assistant", "content": ""}
        return {**self._constant, "choices": chunk["choices"], "usage": usage_object(self.usage)}

    def conclusion(self) -> dict[str, Any]:
        """Return the last chunk: no choices, the exact usage."""
        return {**self._constant, "choices": [], "usage": usage_object(self.usage)}

    def _count(self, chunk: dict[str, Any]) -> None:
        if chunk.get("choices"):
            self._last_index = chunk["choices"][0]["index"]
        if progress := chunk.get("prompt_progress"):
            self._count_input(progress["total"], progress["cache"])
        if timings := chunk.get("timings"):
            self._count_output(timings["predicted_n"])
        # The exact usage of a choice has no index; it follows directly after the choice's last chunk.
        if exact := chunk.get("usage"):
            self._count_input(exact["prompt_tokens"], exact["prompt_tokens_details"]["cached_tokens"])
            self._count_output(exact["completion_tokens"])

    def _count_input(self, tokens: int, cached_tokens: int) -> None:
        self._input_tokens = max(self._input_tokens, tokens)
        self._cached_input_tokens = max(self._cached_input_tokens, cached_tokens)

    def _count_output(self, tokens: int) -> None:
        self._output_tokens[self._last_index] = max(self._output_tokens.get(self._last_index, 0), tokens)

    def _error(self, error: dict[str, Any]) -> EngineRefused | EngineFailed:
        if error.get("type") == "exceed_context_size_error":
            return EngineRefused(
                f"This model's maximum context length is {error['n_ctx']} tokens, but the messages have"
                f" {error['n_prompt_tokens']} tokens.",
                code=CONTEXT_LENGTH_EXCEEDED,
                param="messages",
            )
        if error.get("code") == 400:
            return self.refusal
        return EngineFailed("The model failed to answer.")
