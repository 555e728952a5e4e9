"""The rules for methods and headers are the same at all four doors."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

KEY = {"authorization": "Bearer x"}
JSON = {"content-type": "application/json"}
DOORS = ("inference", "tenant", "operator", "regulator")
GUARDED = {
    "inference": "/v1/models",
    "tenant": "/v1/organization/account",
    "operator": "/v1/tenants",
    "regulator": "/v1/institutions",
}
WITH_BODY = {
    "inference": ("POST", "/v1/chat/completions"),
    "tenant": ("POST", "/v1/organization/disputes"),
    "operator": ("POST", "/v1/tenants"),
}


async def answer(app: FastAPI, method: str, path: str, headers: Any, body: bytes = b"") -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://door") as client:
        return await client.request(method, path, headers=headers, content=body)


def error(told: httpx2.Response) -> tuple[int, str, str | None]:
    shown = told.json()["error"]
    return told.status_code, shown["code"], shown["param"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("given", [{}, {"authorization": ""}, {"authorization": "Basic eDp5"}, {"x-api-key": "x"}])
async def test_a_caller_without_a_key_learns_how_to_send_one(
    apps: dict[str, FastAPI], door: str, given: dict[str, str]
) -> None:
    told = await answer(apps[door], "GET", GUARDED[door], given)
    assert error(told) == (401, "invalid_api_key", None)
    assert "Authorization: Bearer YOUR_KEY" in told.json()["error"]["message"]
    assert told.headers["www-authenticate"] == 'Bearer realm="finpool"'


async def test_a_wrong_token_is_told_apart_from_no_token(stranger: httpx2.AsyncClient) -> None:
    told = await stranger.get("/v1/tenants", headers={"authorization": "Bearer fpo_unknown"})
    assert error(told) == (401, "invalid_api_key", None)
    assert "Incorrect API key" in told.json()["error"]["message"]
    assert told.headers["www-authenticate"] == 'Bearer realm="finpool", error="invalid_token"'


@pytest.mark.parametrize("door", WITH_BODY)
@pytest.mark.parametrize(
    ("headers", "code", "said"),
    [
        ({**JSON, "content-encoding": "gzip"}, "unsupported_content_encoding", "encoded as 'gzip'"),
        ({**JSON, "content-encoding": "BR"}, "unsupported_content_encoding", "send it as it is"),
        ({**JSON, "content-encoding": "identity, zstd"}, "unsupported_content_encoding", "zstd"),
        ({"content-type": "application/json; charset=latin-1"}, "unsupported_content_type", "utf-8, not latin-1"),
        ({"content-type": "text/plain"}, "unsupported_content_type", "not text/plain"),
        ({"content-type": "application/x-www-form-urlencoded"}, "unsupported_content_type", "application/json"),
        ({"content-type": "application/jsonp"}, "unsupported_content_type", "application/json"),
        ({}, "unsupported_content_type", "missing"),
    ],
)
async def test_a_body_that_is_not_plain_json_is_a_415_that_says_so(
    apps: dict[str, FastAPI], door: str, headers: dict[str, str], code: str, said: str
) -> None:
    method, path = WITH_BODY[door]
    told = await answer(apps[door], method, path, {**KEY, **headers}, b"\x1f\x8b\x08")
    assert error(told)[:2] == (415, code)
    assert said in told.json()["error"]["message"]


@pytest.mark.parametrize("door", WITH_BODY)
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json; charset=UTF-8"},
        {"content-type": 'APPLICATION/JSON;charset="utf-8"'},
        {"content-type": "application/json ; charset=us-ascii"},
        {**JSON, "content-encoding": "identity"},
    ],
)
async def test_json_in_utf_8_may_be_declared_in_any_way(
    apps: dict[str, FastAPI], door: str, headers: dict[str, str]
) -> None:
    method, path = WITH_BODY[door]
    assert (await answer(apps[door], method, path, {**KEY, **headers}, b"{")).status_code == 400


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "name", ["authorization", "content-type", "content-encoding", "openai-project", "openai-organization"]
)
async def test_a_header_that_decides_is_refused_when_it_comes_twice(
    apps: dict[str, FastAPI], door: str, name: str
) -> None:
    told = await answer(apps[door], "GET", GUARDED[door], [(name, "a"), (name.title(), "b")])
    assert error(told) == (400, "repeated_header", name)
    assert told.headers["x-request-id"]


@pytest.mark.parametrize("door", DOORS)
async def test_head_answers_as_get_without_the_body(apps: dict[str, FastAPI], door: str) -> None:
    for path in ("/healthz", "/openapi.json", GUARDED[door]):
        got, head = [await answer(apps[door], method, path, {}) for method in ("GET", "HEAD")]
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert {**head.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}


async def test_options_names_the_methods_of_a_path_to_everybody(apps: dict[str, FastAPI]) -> None:
    for door, path, allowed in (
        ("operator", "/v1/tenants", "GET, HEAD, OPTIONS, POST"),
        ("operator", "/v1/tenants/x/keys/y", "DELETE, OPTIONS, PATCH"),
        ("inference", "/v1/chat/completions", "OPTIONS, POST"),
        ("inference", "/v1/models/m", "GET, HEAD, OPTIONS"),
        ("tenant", "/v1/organization/disputes", "GET, HEAD, OPTIONS, POST"),
    ):
        told = await answer(apps[door], "OPTIONS", path, {})
        assert (told.status_code, told.headers["allow"], told.content) == (204, allowed, b"")
        refused = await answer(apps[door], "PURGE", path, {})
        assert (error(refused)[0], refused.headers["allow"]) == (405, allowed)
    assert (await answer(apps["operator"], "OPTIONS", "/v1/nothing", {})).status_code == 404


async def test_an_empty_header_names_no_project_and_no_organization(apps: dict[str, FastAPI]) -> None:
    def named(project: str, organization: str) -> dict[str, str]:
        return {**KEY, **JSON, "openai-project": project, "openai-organization": organization}

    path = "/v1/organization/disputes"
    for headers in (named("", ""), named("credit", ""), named("", "bank-a")):
        assert error(await answer(apps["tenant"], "POST", path, headers, b"{"))[:2] == (400, "invalid_request")
    for headers in (named("other", ""), named("", "bank-b")):
        assert error(await answer(apps["tenant"], "POST", path, headers, b"{"))[:2] == (403, "mismatched_organization")
