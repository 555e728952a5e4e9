"""The integration tests compare every answer with its document; the comparison names each difference."""

import json
from typing import Any

import pytest
from documented_answers import faults_of

JSON = [(b"Content-Type", b"application/json; charset=utf-8"), (b"x-request-id", b"req_1")]
PATH = "/v1/models/{model_id}/prices"
PRICES: dict[str, Any] = {
    "object": "list",
    "model": "m",
    "declared": {
        "currency": "EUR",
        "input_micros_per_million_tokens": 1,
        "cached_input_micros_per_million_tokens": 1,
        "output_micros_per_million_tokens": 1,
    },
    "declared_price_version": "m-1",
    "declared_in_force": True,
    "data": [],
}


def faults(status: int, body: Any, headers: list[tuple[bytes, bytes]] = JSON) -> list[str]:
    start = {"status": status, "headers": headers}
    return list(faults_of("operator", "GET", PATH, start, json.dumps(body).encode()))


def error(code: str) -> dict[str, Any]:
    return {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": code}}


def test_a_documented_answer_has_no_fault() -> None:
    assert faults(200, PRICES) == []
    assert faults(404, error("model_not_found")) == []


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (418, {}, "status 418 is not documented"),
        (200, {**PRICES, "colour": "red"}, "'colour' was unexpected"),
        (200, {**PRICES, "declared": {**PRICES["declared"], "currency": 1}}, "1 is not of type 'string'"),
        (200, {**PRICES, "model": None}, "None is not of type 'string'"),
        (
            200,
            {name: value for name, value in PRICES.items() if name != "declared"},
            "'declared' is a required property",
        ),
        (404, error("tenant_not_found"), "'tenant_not_found' is not one of ['model_not_found']"),
        (404, {"detail": "Not Found"}, "'error' is a required property"),
    ],
)
def test_an_answer_that_is_not_documented_is_named(status: int, body: Any, fault: str) -> None:
    assert any(fault in each for each in faults(status, body))


def test_another_media_type_is_named() -> None:
    assert faults(200, PRICES, [(b"content-type", b"text/html"), JSON[1]]) == ["status 200 comes as text/html"]


def test_an_undocumented_a_missing_and_a_wrong_header_are_named() -> None:
    assert faults(200, PRICES, JSON[:1]) == ["status 200: the header x-request-id is missing"]
    (undocumented,) = faults(200, PRICES, [*JSON, (b"Retry-After", b"1")])
    assert undocumented == "status 200: the header retry-after is not documented"
    refusal = json.dumps(error("rate_limit_exceeded")).encode()
    start = {"status": 429, "headers": [*JSON, (b"retry-after-ms", b"soon"), (b"x-ratelimit-reset-budget", b"1m0s")]}
    (wrong,) = faults_of("inference", "POST", "/v1/chat/completions", start, refusal)
    assert wrong == "status 429: the header retry-after-ms: 'soon' is not of type 'integer'"


def test_a_refusal_of_the_server_itself_has_no_id() -> None:
    assert faults(400, error("invalid_request"), JSON[:1]) == []


def test_each_event_of_a_stream_is_compared() -> None:
    names = ("x-request-id", "openai-organization", "openai-version")
    headers = [(name.encode(), b"text") for name in names] + [(b"openai-processing-ms", b"3")]
    start = {"status": 200, "headers": [*headers, (b"content-type", b"text/event-stream; charset=utf-8")]}
    stream = b'data: {"id": 1}\n\ndata: ' + json.dumps(error("engine_error")).encode() + b"\n\ndata: [DONE]\n\n"
    found = list(faults_of("inference", "POST", "/v1/chat/completions", start, stream))
    assert any("'choices' is a required property" in each for each in found)
    assert not any("engine_error" in each for each in found)
