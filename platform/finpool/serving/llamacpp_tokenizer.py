"""How many tokens a conversation is, counted by the model's own template and tokenizer."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from finpool.kernel.errors import DomainError
from finpool.serving.errors import EngineFailed

COUNT_SECONDS_MAX = 10.0


class Tokenizer:
    """llama.cpp's listener on loopback, which is the only way to its tokenizer; its key is known to this process."""

    def __init__(self, url: str, key: str, refusal: DomainError) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self._refusal = refusal
        self._session: aiohttp.ClientSession | None = None

    async def count(self, request: Mapping[str, Any]) -> int:
        """Return the input tokens of a chat request in llama.cpp's words; raises what refuses it."""
        prompt = await self._ask("/apply-template", request)
        # Special tokens are parsed because the engine parses them in a conversation.
        content = {"content": prompt["prompt"], "add_special": True, "parse_special": True}
        return len((await self._ask("/tokenize", content))["tokens"])

    async def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=COUNT_SECONDS_MAX)
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, trust_env=False)
        try:
            async with self._session.post(f"{self._url}{path}", json=body) as response:
                if response.status == 400:
                    raise self._refusal
                response.raise_for_status()
                answer: dict[str, Any] = await response.json()
                return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineFailed("The model could not count the tokens of the request.") from error
