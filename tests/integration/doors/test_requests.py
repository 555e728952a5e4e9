"""The order in which a door reads a request, and its answer and log line when it refuses one."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from finpool.kernel.door.door import Door
from finpool.kernel.errors import DomainError

Client = httpx2.AsyncClient
JSON = {"content-type": "application/json"}
BODIES = [b"{", b"", b"[" * 100_000, b'{"id": "a", "id": "b"}', b"\xff"]


def error(answer: Any) -> tuple[int, str, str | None]:
    told = answer.json()["error"]
    return answer.status_code, told["code"], told["param"]


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("body", BODIES)
async def test_a_stranger_is_told_nothing_about_a_body(stranger: Client, body: bytes) -> None:
    for path in ("/v1/tenants", "/v1/tenants/bank-a/projects", "/v1/tenants/bank-a/keys"):
        refused = await stranger.post(path, content=body, headers=JSON)
        assert error(refused) == (401, "invalid_api_key", None)
    assert error(await stranger.put("/v1/tenants/bank-a/limits/tenant/bank-a", content=body, headers=JSON))[0] == 401


async def test_a_body_is_read_only_once_it_is_known_who_sent_it(stranger: Client) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{}"

    app = stranger._transport.app  # type: ignore[attr-defined]
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"".join([part async for part in body()])}

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/tenants", "query_string": b"", "root_path": ""}
    await app({**scope, "http_version": "1.1", "headers": [(b"transfer-encoding", b"chunked")]}, receive, send)
    assert (answers[0]["status"], read) == (401, [])


async def test_a_body_that_is_no_json_is_a_400_that_blames_no_field(stranger: Client, admin: Any) -> None:
    answer = await stranger.post("/v1/tenants", content=b'{"id": ', headers=admin)
    assert error(answer) == (400, "invalid_request", None)
    assert answer.json()["error"]["message"] == "The body is not valid JSON."


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"id": "bank-a", "name": "\\ud800"}',
        b'{"id": "bank-a", "name": "A", "\\udfff": 1}',
        b'{"id": "bank-a", "name": {"\\ud800": 1, "\\ud800": 2}}',
    ],
)
async def test_a_body_that_cannot_be_read_is_a_400(stranger: Client, admin: Any, body: bytes) -> None:
    assert error(await stranger.post("/v1/tenants", content=body, headers=admin)) == (400, "invalid_request", None)


async def test_a_refusal_says_what_is_wrong_without_words_for_programmers(stranger: Client, admin: Any) -> None:
    body = {"id": "bank-a", "name": "A\u200bB", "models": ["a", "a"], "colour": "red"}
    answer = await stranger.post("/v1/tenants", json=body, headers=admin)
    assert answer.json()["error"]["message"] == (
        "name: must not hold control characters or invisible ones; models: names a model twice;"
        " colour: is not known here: leave it out"
    )


async def test_a_body_that_names_a_field_twice_is_refused(stranger: Client, admin: Any) -> None:
    body = b'{"id": "bank-a", "name": "A", "name": "B"}'
    assert error(await stranger.post("/v1/tenants", content=body, headers=admin)) == (400, "invalid_request", "name")
    assert (await stranger.get("/v1/tenants", headers=admin)).json()["data"] == []


async def test_a_body_without_a_length_is_read_up_to_the_same_limit(stranger: Client, admin: Any) -> None:
    body = (b'{"id": "bank-a", ', b'"name": "A"}')
    assert (await stranger.post("/v1/tenants", content=pieces(*body), headers=admin)).status_code == 201
    large = pieces(*[b" " * 65_536] * 20)
    assert error(await stranger.post("/v1/tenants", content=large, headers=admin))[:2] == (413, "request_too_large")
    declared = {**admin, "content-length": "2000000"}
    assert error(await stranger.post("/v1/tenants", content=b"x", headers=declared))[:2] == (413, "request_too_large")


async def test_a_path_with_a_slash_too_many_is_a_404_and_no_redirect(stranger: Client, admin: Any) -> None:
    answer = await stranger.get("/v1/tenants/", headers={**admin, "host": "elsewhere.test"})
    assert error(answer) == (404, "unknown_url", None)


@pytest.mark.parametrize("name", ["host", "authorization", "content-type", "idempotency-key"])
async def test_two_headers_that_decide_about_a_request_are_a_400(stranger: Client, name: str) -> None:
    headers = [("authorization", "Bearer key"), (name, "one"), (name, "one")]
    answer = await stranger.get("/v1/tenants", headers=headers)
    assert error(answer) == (400, "repeated_header", name)


async def test_options_of_the_whole_server_names_the_methods(stranger: Client) -> None:
    app = stranger._transport.app  # type: ignore[attr-defined]
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "OPTIONS", "path": "*", "query_string": b"", "root_path": "", "headers": []}
    await app({**scope, "http_version": "1.1"}, None, send)
    assert answers[0]["status"] == 204
    assert b"PATCH" in dict(answers[0]["headers"])[b"allow"]


async def test_requests_are_answered_while_the_document_of_the_api_is_built(
    stranger: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    app: Door = stranger._transport.app  # type: ignore[attr-defined]
    document, built = app.openapi(), threading.Event()

    def slow() -> dict[str, Any]:
        assert built.wait(20)
        return document

    monkeypatch.setattr(app, "openapi", slow)
    asked = [asyncio.create_task(stranger.get("/openapi.json")) for _ in range(2)]
    assert (await stranger.get("/healthz")).status_code == 200
    built.set()
    assert [answer.json() for answer in await asyncio.gather(*asked)] == [document, document]


async def test_a_method_that_a_path_lacks_is_a_405(stranger: Client) -> None:
    assert error(await stranger.request("PURGE", "/v1/tenants")) == (405, "method_not_allowed", None)


async def test_a_refusal_leaves_one_line_with_ids_and_no_secret(stranger: Client, admin: Any) -> None:
    sent = {**admin, "x-request-id": "trace-7", "x-stainless-retry-count": "2"}
    with capture_logs() as lines:
        answer = await stranger.post("/v1/tenants/bank-z/keys", headers=sent, json={"project_id": "p", "name": "n"})
        served = await stranger.get("/v1/tenants", headers=sent)
    assert (answer.headers["x-request-id"], served.status_code) == ("trace-7", 200)
    (line,) = lines
    assert line.pop("request_id").startswith("req_")
    assert line == {
        "event": "request refused",
        "log_level": "info",
        "source": "kernel.ingress",
        "door": "operator",
        "method": "POST",
        "path": "/v1/tenants/{tenant_id}/keys",
        "status": 404,
        "code": "tenant_not_found",
        "tenant_id": None,
        "client_request_id": "trace-7",
        "retry_count": 2,
    }


async def test_a_retry_count_that_is_no_count_is_not_logged(stranger: Client) -> None:
    with capture_logs() as lines:
        await stranger.get("/v1/tenants", headers={"x-stainless-retry-count": "many"})
    assert (lines[0]["retry_count"], lines[0]["status"]) == (None, 401)


async def test_a_defect_is_a_500_with_the_id_that_its_log_line_has(
    stranger: Client, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("finpool.tenancy.service.list_tenants", broken)
    with capture_logs() as lines:
        answer = await stranger.get("/v1/tenants", headers=admin)
    assert error(answer) == (500, DomainError.code, None)
    assert [line["event"] for line in lines] == ["unhandled exception", "request refused"]
    assert {line["request_id"] for line in lines} == {answer.headers["x-request-id"]}
