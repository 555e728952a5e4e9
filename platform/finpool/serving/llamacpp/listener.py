"""The HTTP listener of llama.cpp on loopback; only this process knows its key."""

from collections.abc import Mapping
from typing import Any

import aiohttp


class Listener:
    """A client of that listener, for the tokenizer and for requests that stop when their caller is cancelled."""

    def __init__(self, url: str, key: str, *, seconds_max: float | None) -> None:
        """Take the limit of each request, `seconds_max`; None means no limit."""
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self._timeout = aiohttp.ClientTimeout(total=seconds_max)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the answer's status and JSON document; raise `aiohttp.ClientError` or `TimeoutError`.

        Cancelling this closes the connection, and llama.cpp drops the uncomputed rest.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)  # The engine's slots are the limit.
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=self._timeout, trust_env=False, connector=connector
            )
        async with self._session.post(f"{self._url}{path}", json=body) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            return response.status, answer

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
