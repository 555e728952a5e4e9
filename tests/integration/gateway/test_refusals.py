"""Refusals before an engine sees the request: the right status, OpenAI's error shape, nothing charged."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from multidict import CIMultiDictProxy
from served_bank import ServedBank

from finpool.catalogue.model.service import default_directory
from finpool.kernel.settings import Settings

MODEL = "smollm2-135m-instruct"
GOOD = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a door whose one model has no capability."""
    model = yaml.safe_load((default_directory() / f"{MODEL}.yaml").read_text()) | {"capabilities": []}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(model))
    return settings.model_copy(update={"catalogue_dir": tmp_path})


@pytest.fixture
async def key(bank: ServedBank) -> str:
    return await bank.add_tenant("bank-a")


async def post(bank: ServedBank, key: str, body: Any, **headers: str) -> tuple[int, Any, CIMultiDictProxy[str]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    url = f"{bank.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=io.BytesIO(data), headers=sent) as response:
        return response.status, await response.json(), response.headers


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown field": ({"best_of": 3}, "unknown_parameter", "best_of"),
    "priority is not the client's": ({"priority": -5}, "unknown_parameter", "priority"),
    "salt is not the client's": ({"cache_salt": "x"}, "unknown_parameter", "cache_salt"),
    "logit_bias": ({"logit_bias": {"50256": -100}}, "unsupported_parameter", "logit_bias"),
    "temperature too high": ({"temperature": 2.1}, "invalid_value", "temperature"),
    "temperature is text": ({"temperature": "hot"}, "invalid_value", "temperature"),
    "max_tokens zero": ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    "max_tokens a string": ({"max_tokens": "5"}, "invalid_value", "max_tokens"),
    "max_tokens above the model's": ({"max_tokens": 1_000_000}, "invalid_value", "max_tokens"),
    "both limits": ({"max_completion_tokens": 5}, "invalid_value", "max_completion_tokens"),
    "too many choices": ({"n": 100}, "invalid_value", "n"),
    "no messages": ({"messages": []}, "invalid_value", "messages"),
    "unknown role": ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_value", "messages[0].role"),
    "message without content": ({"messages": [{"role": "user"}]}, "invalid_value", "messages[0].content"),
    "image content": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "unsupported_parameter",
        "messages[0].content[0].type",
    ),
    "unknown field in a message": (
        {"messages": [{"role": "user", "content": "x", "weight": 1}]},
        "unknown_parameter",
        "messages[0].weight",
    ),
    "too many stops": ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
    "top_logprobs alone": ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    "too many logprobs": ({"logprobs": True, "top_logprobs": 50}, "invalid_value", "top_logprobs"),
    "tools the model lacks": (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "unsupported_parameter",
        "tools",
    ),
    "stream_options without stream": ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    "storing": ({"store": True}, "unsupported_parameter", "store"),
    "tool calls in the history of a model without tools": (
        {
            "messages": [
                {"role": "user", "content": "x"},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "7"},
            ]
        },
        "unsupported_parameter",
        "messages[1].tool_calls",
    ),
    "a conversation that ends with calls": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
            ]
        },
        "invalid_value",
        "messages[0].tool_calls",
    ),
}


async def test_fields_that_cannot_be_honoured_are_refused_by_name(bank: ServedBank, key: str) -> None:
    wrong = {}
    for case, (fields, code, param) in REFUSED.items():
        status, body, _ = await post(bank, key, {**GOOD, **fields})
        error = body["error"]
        as_told = (status, error["code"]) == (400, code) and param == error["param"]
        if not as_told or set(error) != {"message", "type", "param", "code"}:
            wrong[case] = (status, error)
    assert wrong == {}
    assert bank.engine.bodies == []
    assert await bank.usage("bank-a") == []


async def test_what_is_not_a_json_object_is_refused(bank: ServedBank, key: str) -> None:
    for body in (b"{", b"[]", b'"x"', b"", b'{"model": NaN}', b"\xff\xfe"):
        status, answer, _ = await post(bank, key, body)
        assert (status, answer["error"]["code"]) == (400, "invalid_json"), body


async def test_deeply_nested_json_is_refused(bank: ServedBank, key: str) -> None:
    status, answer, _ = await post(bank, key, b'{"metadata":' * 2000 + b"1" + b"}" * 2000)
    assert (status, answer["error"]["code"]) == (400, "invalid_json")


async def test_a_body_over_the_limit_is_a_413_with_or_without_its_length(bank: ServedBank, key: str) -> None:
    large = json.dumps({**GOOD, "user": "x" * 2_000_000}).encode()
    status, answer, _ = await post(bank, key, large)
    assert (status, answer["error"]["code"]) == (413, "request_too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        async with session.post(f"{bank.url}/v1/chat/completions", data=pieces(), headers=headers) as response:
            assert response.status == 413


async def test_another_content_type_is_a_415(bank: ServedBank, key: str) -> None:
    status, answer, _ = await post(bank, key, GOOD, **{"content-type": "text/plain"})
    assert (status, answer["error"]["code"]) == (415, "unsupported_content_type")


async def test_an_unknown_model_is_a_404_that_hides_whether_it_exists(bank: ServedBank, key: str) -> None:
    status, answer, _ = await post(bank, key, {**GOOD, "model": "gpt-9"})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (404, "model_not_found", "model")


async def test_wrong_keys_are_401_and_all_alike(bank: ServedBank, key: str) -> None:
    wrong = ["x", key[:-1] + ("a" if key[-1] != "a" else "b"), "fpo_" + key[4:], "fpk_" + "0" * 36]
    answers = [await post(bank, each, GOOD) for each in wrong]
    assert {(status, body["error"]["code"]) for status, body, _ in answers} == {(401, "invalid_api_key")}
    assert len({body["error"]["message"] for _, body, _ in answers}) == 1
    assert {headers["www-authenticate"] for _, _, headers in answers} == {
        'Bearer realm="finpool", error="invalid_token"'
    }


async def test_a_missing_key_is_a_401_of_another_message(bank: ServedBank) -> None:
    status, missing, headers = await post(bank, "", GOOD)
    assert (status, missing["error"]["code"]) == (401, "invalid_api_key")
    assert "Authorization: Bearer YOUR_KEY" in missing["error"]["message"]
    assert headers["www-authenticate"] == 'Bearer realm="finpool"'


async def test_an_unknown_url_is_a_404_in_the_same_shape(bank: ServedBank, key: str) -> None:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        for path in ("/v1/completions/nothing", "/nothing", "/v1/organization/nothing"):
            async with session.get(bank.url + path) as response:
                body = await response.json()
                assert (response.status, body["error"]["code"]) == (404, "unknown_url")


async def test_naming_another_organization_or_project_is_refused(bank: ServedBank, key: str) -> None:
    for header, own in (("openai-organization", "bank-a"), ("openai-project", "main")):
        status, answer, _ = await post(bank, key, GOOD, **{header: "bank-b"})
        assert (status, answer["error"]["code"]) == (403, "mismatched_organization")
        status, _, _ = await post(bank, key, GOOD, **{header: own})
        assert status == 200


async def test_a_route_without_idempotency_keys_refuses_one_rather_than_ignore_it(bank: ServedBank, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "idempotency-key": "7"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path in (("POST", "disputes"), ("PUT", "limits/project/main")):
            async with session.request(method, f"{bank.url}/v1/organization/{path}", json={"name": "x"}) as refused:
                answer = await refused.json()
            assert (refused.status, answer["error"]["code"]) == (400, "idempotency_unsupported"), path
        async with session.get(f"{bank.url}/v1/models") as served:  # It changes nothing, so a key adds nothing.
            assert served.status == 200


async def test_the_clients_request_id_is_echoed_when_it_is_well_formed(bank: ServedBank, key: str) -> None:
    _, _, headers = await post(bank, key, GOOD, **{"x-request-id": "trace-7"})
    assert headers["x-request-id"] == "trace-7"
    _, _, headers = await post(bank, key, GOOD, **{"x-request-id": "not well formed"})
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-organization"] == "bank-a"
    assert headers["openai-processing-ms"].isdigit()


async def test_without_an_id_of_the_clients_the_answer_and_the_header_name_the_same_request(
    bank: ServedBank, key: str
) -> None:
    _, body, headers = await post(bank, key, GOOD)
    assert body["id"] == headers["x-request-id"].replace("req_", "chatcmpl-")
    _, again, headers = await post(bank, key, GOOD, **{"x-request-id": "trace-7"})
    assert (headers["x-request-id"], again["id"] == body["id"]) == ("trace-7", False)


async def test_a_model_that_fails_is_replaced_by_no_other_and_asked_once(bank: ServedBank, key: str) -> None:
    for status in (429, 500, 503):
        bank.engine.bodies.clear()
        bank.engine.refuse_with = status
        answered, _, headers = await post(bank, key, GOOD)
        assert answered == status
        assert ("retry-after" in headers) == (status == 429)
        assert [body["model"] for body in bank.engine.bodies] == [MODEL]
    assert (await bank.settled("bank-a")).posted_micros == 0
