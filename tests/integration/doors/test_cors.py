"""Web pages of listed origins may call the banks' door; without a list no page may."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from pydantic import ValidationError

from finpool.apps.inference import create_app
from finpool.kernel.settings import Settings

PAGE = "https://chat.bank.example"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "POST"}
OF_OPENAI = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-some-day"
PATHS = ("/v1/chat/completions", "/v1/organization/disputes", "/v1/models")

Calls = Callable[..., httpx2.AsyncClient]


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    """Return a function that makes a client of the banks' door with some origins; nothing behind the door is open."""
    (tmp_path / "key_pepper").write_text("p" * 64)

    def client(origins: str) -> httpx2.AsyncClient:
        url = "postgresql://localhost/none"
        settings = Settings.model_validate(
            {
                "home": tmp_path,
                "secrets_dir": tmp_path,
                "inference_database_url": url,
                "tenant_database_url": url,
                "cors_origins": origins,
            }
        )
        transport = httpx2.ASGITransport(app=create_app(settings), raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://door")

    return client


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_list_no_page_may_call(calls: Calls, path: str) -> None:
    async with calls("") as client:
        for told in (await client.options(path, headers=PREFLIGHT), await client.get(path, headers={"origin": PAGE})):
            assert not [name for name in told.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_of_a_listed_page_is_answered_without_a_key(calls: Calls, path: str) -> None:
    async with calls(f"https://other.example, {PAGE}") as client:
        told = await client.options(path, headers={**PREFLIGHT, "access-control-request-headers": OF_OPENAI})
    assert told.status_code == 200
    assert told.headers["access-control-allow-origin"] == PAGE
    assert "Origin" in told.headers["vary"]
    assert "POST" in told.headers["access-control-allow-methods"]
    allowed = {name.strip().lower() for name in told.headers["access-control-allow-headers"].split(",")}
    assert set(OF_OPENAI.split(",")) <= allowed
    assert "access-control-allow-credentials" not in told.headers
    assert told.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({**PREFLIGHT, "origin": "https://evil.example"}, "origin"),
        ({**PREFLIGHT, "origin": PAGE + ".evil.example"}, "origin"),
        ({**PREFLIGHT, "origin": "null"}, "origin"),
        ({**PREFLIGHT, "access-control-request-method": "TRACE"}, "method"),
        ({**PREFLIGHT, "access-control-request-headers": "x-stainless-os,cookie"}, "headers"),
    ],
)
async def test_a_preflight_for_anything_else_is_refused_in_the_one_shape(
    calls: Calls, headers: dict[str, str], said: str
) -> None:
    async with calls(PAGE) as client:
        told = await client.options("/v1/models", headers=headers)
    assert told.status_code == 400
    assert set(told.json()["error"]) == {"message", "type", "param", "code"}
    assert said in told.json()["error"]["message"]
    assert told.headers.get("access-control-allow-origin") in (None, PAGE)


async def test_a_refusal_can_be_read_by_a_listed_page_and_by_no_other(calls: Calls) -> None:
    async with calls(PAGE) as client:
        for path, status in (("/v1/models", 401), ("/v1/organization/account", 401), ("/v1/nothing", 404)):
            told = await client.get(path, headers={"origin": PAGE})
            assert (told.status_code, told.headers["access-control-allow-origin"]) == (status, PAGE)
            exposed = told.headers["access-control-expose-headers"]
            for name in ("x-request-id", "x-ratelimit-remaining-tokens", "retry-after", "retry-after-ms"):
                assert name in exposed.split(", ")
            other = await client.get(path, headers={"origin": "https://evil.example"})
            assert (other.status_code, other.headers.get("access-control-allow-origin")) == (status, None)
        large = {"origin": PAGE, "content-length": str(2**30), "content-type": "application/json"}
        told = await client.post("/v1/chat/completions", headers=large, content=b"x")
        assert (told.status_code, told.headers["access-control-allow-origin"]) == (413, PAGE)


@pytest.mark.parametrize(
    "origins", ["*", "chat.bank.example", f"{PAGE}/", f"{PAGE}/path", "null", "https://*.bank.example", "ftp://a"]
)
def test_an_origin_is_a_scheme_and_a_host(origins: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        Settings.model_validate({"cors_origins": origins})


def test_origins_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINPOOL_CORS_ORIGINS", f"{PAGE},http://localhost:3000,http://[::1]:5173,")
    assert Settings().cors_origins == (PAGE, "http://localhost:3000", "http://[::1]:5173")
