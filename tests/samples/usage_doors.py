"""The three doors through which recorded usage is seen, called without a network."""

from dataclasses import dataclass
from typing import Any

import httpx2
from openai import AsyncOpenAI


@dataclass
class Doors:
    """HTTP clients without a network, and a credential for everybody."""

    operator: httpx2.AsyncClient
    regulator: httpx2.AsyncClient
    tenant_transport: httpx2.ASGITransport
    keys: dict[str, str]

    def official(self, key_name: str) -> Any:
        """Return the official client with a bank's key, such as `bank-a/owner`. It refuses answers of another shape.

        It has no type here: by its own types each result of usage may be of ten kinds.
        """
        return AsyncOpenAI(
            admin_api_key=self.keys[key_name],
            base_url="http://finpool.test/v1",
            http_client=httpx2.AsyncClient(transport=self.tenant_transport),
            max_retries=0,
            _strict_response_validation=True,
        )

    def tenant(self, key_name: str) -> httpx2.AsyncClient:
        """Return a plain client with a bank's key."""
        return client(self.tenant_transport, self.keys[key_name])


def client(transport: httpx2.ASGITransport, credential: str) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {credential}"} if credential else {}
    return httpx2.AsyncClient(transport=transport, base_url="http://finpool.test", headers=headers)
