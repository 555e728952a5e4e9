"""The routes to models are served ahead of the framework, and answer as the framework would."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from finpool.apps.inference import create_app
from finpool.kernel.door.door import Door
from finpool.kernel.settings import Settings

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
KEY = {"authorization": "Bearer fpk_unknown"}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no key": (CHAT, {"headers": JSON}),
    "no bearer": (CHAT, {"headers": {**JSON, "authorization": "Basic abc"}}),
    "a key while nothing is known": (CHAT, {"headers": {**JSON, **KEY}}),
    "a key twice": (CHAT, {"headers": [*JSON.items(), *KEY.items(), *KEY.items()]}),
    "a large body": (CHAT, {"headers": {**JSON, "content-length": str(2**30)}}),
    "embeddings": ("/v1/embeddings", {"headers": JSON}),
    "a ranking": ("/v2/rerank", {"headers": {**JSON, "x-request-id": "mine"}}),
}


@pytest.fixture
def app(tmp_path: Path) -> Door:
    """The banks' door with nothing behind it; pages of one origin may call it."""
    (tmp_path / "key_pepper").write_text("p" * 64)
    url = "postgresql://localhost/none"
    values = {"home": tmp_path, "secrets_dir": tmp_path, "inference_database_url": url, "tenant_database_url": url}
    return create_app(Settings.model_validate({**values, "cors_origins": "https://page.example"}))


def caller(app: Door) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://door")


async def refusal(client: httpx2.AsyncClient, path: str, sent: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
    told = await client.post(path, content=b"{}", **sent)
    return told.status_code, told.content, {**told.headers, "x-request-id": told.headers["x-request-id"][:4]}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_the_same_on_both_ways(app: Door, name: str) -> None:
    path, sent = REFUSED[name]
    headers = httpx2.Headers(sent["headers"])
    through_the_framework = httpx2.Headers([*headers.multi_items(), ("origin", "https://other.example")])
    async with caller(app) as client:
        direct = await refusal(client, path, {"headers": headers})
        usual = await refusal(client, path, {"headers": through_the_framework})
    usual[2].pop("vary", None)
    for name in [each for each in usual[2] if each.startswith("access-control")]:
        usual[2].pop(name)
    assert direct == usual
    assert direct[0] in (400, 401, 413, 503)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/rerank", "/v1/rerank", "/v2/rerank"])
async def test_a_request_to_a_model_passes_no_middleware_of_the_framework(app: Door, path: str) -> None:
    async def passed(*_: object) -> None:
        raise AssertionError("the framework served the request")

    app.middleware_stack = passed
    async with caller(app) as client:
        assert (await client.post(path, headers=JSON, content=b"{}")).status_code == 401


async def test_another_method_of_the_path_is_refused_as_on_other_routes(app: Door) -> None:
    async with caller(app) as client:
        told = await client.get(CHAT)
    assert (told.status_code, told.headers["allow"]) == (405, "OPTIONS, POST")
