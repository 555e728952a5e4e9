"""llama.cpp's own listener on loopback; its key is known to this process alone."""

from collections.abc import Mapping
from typing import Any

import aiohttp


class Listener:
    """The way to what llama.cpp offers over HTTP only: its tokenizer, and requests that stop when nobody waits."""

    def __init__(self, url: str, key: str, *, seconds_max: float | None) -> None:
        """`seconds_max` is for each request; None waits for as long as the caller does."""
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self._timeout = aiohttp.ClientTimeout(total=seconds_max)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the answer's status and document; raises `aiohttp.ClientError` or `TimeoutError`.

        Cancelling this closes the connection, and llama.cpp drops what it had not computed yet.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)  # The engine's own slots are the limit.
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=self._timeout, trust_env=False, connector=connector
            )
        async with self._session.post(f"{self._url}{path}", json=body) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            return response.status, answer
