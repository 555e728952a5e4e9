"""How many tokens a conversation is, counted by the model's own template and tokenizer."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from finpool.kernel.errors import DomainError
from finpool.serving.errors import EngineFailed
from finpool.serving.llamacpp.listener import Listener

COUNT_SECONDS_MAX = 10.0


class Tokenizer:
    """llama.cpp's tokenizer, which only its listener offers."""

    def __init__(self, listener: Listener, refusal: DomainError) -> None:
        self._listener = listener
        self._refusal = refusal

    async def count(self, request: Mapping[str, Any]) -> int:
        """Return the input tokens of a chat request in llama.cpp's words; raises what refuses it."""
        prompt = await self._ask("/apply-template", request)
        # Special tokens are parsed because the engine parses them in a conversation.
        content = {"content": prompt["prompt"], "add_special": True, "parse_special": True}
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
