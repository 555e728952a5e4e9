"""The operators' and the banks' door, called without a network, as the tests of billing see them."""

import httpx2
from fastapi import FastAPI

from finpool.kernel.actor import Role

BANKS = "/v1/tenants/bank-a"
OWN = "/v1/organization"


class Doors:
    """Clients of both doors without a network, by role: `await doors("owner").get(...)`, `doors.operator`."""

    def __init__(self, operators: FastAPI, tenants: FastAPI, credentials: dict[str, str]) -> None:
        self._tenants = tenants
        self.credentials = credentials
        self.operators = operators
        self.operator = self._client(operators, Role.OPERATOR_BILLING)
        self.sre = self._client(operators, Role.OPERATOR_SRE)

    def __call__(self, key: str) -> httpx2.AsyncClient:
        """Return a bank's client with a key of that name."""
        return self._client(self._tenants, key)

    def _client(self, app: FastAPI, name: str) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {self.credentials[name]}"}
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://finpool", headers=headers)
