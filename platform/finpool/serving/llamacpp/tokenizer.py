"""Token counts of a conversation or a text, with the model's own chat template and tokenizer."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from finpool.kernel.errors import DomainError
from finpool.serving.errors import EngineFailed
from finpool.serving.llamacpp.listener import Listener

COUNT_SECONDS_MAX = 10.0


class Tokenizer:
    """The tokenizer of llama.cpp, which only its listener offers."""

    def __init__(self, listener: Listener, refusal: DomainError) -> None:
        self._listener = listener
        self._refusal = refusal

    async def count(self, request: Mapping[str, Any]) -> int:
        """Return the input tokens of a llama.cpp chat request; raise the refusal or `EngineFailed`."""
        return await self.count_text((await self._ask("/apply-template", request))["prompt"])

    async def count_text(self, text: str) -> int:
        """Return the input tokens of a text as the engine reads it; raise the refusal or `EngineFailed`."""
        # The engine parses special tokens in every prompt, so the count does too.
        content = {"content": text, "add_special": True, "parse_special": True}
        return len((await self._ask("/tokenize", content))["tokens"])

    async def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            status, answer = await self._listener.ask(path, body)
        except (aiohttp.ClientError, ValueError, TimeoutError) as error:
            raise EngineFailed("The model could not count the tokens of the request.") from error
        if status == 400:
            raise self._refusal
        if status != 200:
            raise EngineFailed("The model could not count the tokens of the request.")
        return answer
