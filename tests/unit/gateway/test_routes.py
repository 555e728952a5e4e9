"""A gateway whose spool cannot be used: a wrong request is told its own fault, any other one that it may try again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from finpool.gateway.routes import direct_router, router
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.door.door import new_door
from finpool.kernel.ids import ProjectId, TenantId

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "m", "prompt": "Hello"},
    "/v1/embeddings": {"model": "m", "input": "Hello"},
    "/v1/rerank": {"model": "m", "query": "Hello", "documents": ["Hello"]},
}


class EveryoneIsBankA:
    async def authenticate(self, credential: str) -> Actor:
        return Actor(Audience.TENANT, "key_1", Role.TENANT_DEVELOPER, TenantId("bank-a"), ProjectId("main"))

    def authorize(self, actor: Actor, permission: str) -> None:
        return None


@pytest.fixture
async def closed() -> AsyncIterator[httpx2.AsyncClient]:
    """Call a door without a gateway."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = new_door("inference", body_bytes_max=10_000, lifespan=lifespan, gate=())
    app.include_router(router)
    app.include_router(direct_router)
    app.state.gatekeeper, app.state.gateway = EveryoneIsBankA(), None
    transport, key = httpx2.ASGITransport(app=app), {"authorization": "Bearer key"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://bank", headers=key) as client:
        yield client


@pytest.mark.parametrize("path", REQUESTS)
async def test_a_right_request_may_be_tried_again(closed: httpx2.AsyncClient, path: str) -> None:
    refused = await closed.post(path, json=REQUESTS[path])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "spool_unavailable")
    assert (await closed.get("/v1/models")).status_code == 503


@pytest.mark.parametrize("path", REQUESTS)
async def test_a_wrong_request_is_told_its_fault(closed: httpx2.AsyncClient, path: str) -> None:
    refused = await closed.post(path, json={**REQUESTS[path], "model": 1})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
    refused = await closed.post(path, json=REQUESTS[path], headers={"content-type": "text/plain"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (415, "content-type")
