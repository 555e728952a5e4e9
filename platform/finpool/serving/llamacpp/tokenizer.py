"""The tokens of a conversation or a text, with the model's own chat template and tokenizer."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from finpool.kernel.errors import DomainError
from finpool.serving.engine.prompts import PROMPT_FIELD
from finpool.serving.errors import EngineFailed
from finpool.serving.llamacpp.listener import Listener

COUNT_SECONDS_MAX = 10.0


class Tokenizer:
    """The tokenizer of llama.cpp, which only its listener offers."""

    def __init__(self, listener: Listener, refusal: DomainError) -> None:
        self._listener = listener
        self._refusal = refusal

    async def count(self, request: Mapping[str, Any]) -> int:
        """Return the number of input tokens of a request; raise the refusal or `EngineFailed`."""
        return len(await self.tokens(request))

    async def tokens(self, request: Mapping[str, Any]) -> list[int]:
        """Return the input tokens of a chat or text completion request; raise the refusal or `EngineFailed`."""
        if PROMPT_FIELD in request:
            text = request[PROMPT_FIELD]
        else:
            text = (await self._ask("/apply-template", request))["prompt"]
        # The engine parses special tokens in every prompt, so this does too.
        content = {"content": text, "add_special": True, "parse_special": True}
        tokens: list[int] = (await self._ask("/tokenize", content))["tokens"]
        return tokens

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
