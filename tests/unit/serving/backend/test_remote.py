"""The gateway's side of an engine of somebody else's: what reaches it, what never does, and how its answer counts."""

import ssl
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from certificate import write_certificate
from hypothesis import given
from hypothesis import strategies as st
from remote_model import KEY, remote_declaration
from scripted_engine import CHUNK, LAST, USED, FakeEngine, event, refused, streamed

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.remote import OPENAI_FIELDS, estimate_of, remote_request
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.schemas import EngineChunks, Operation

TOKEN = "e" * 40
BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3, "cache_salt": "5a17"}
UNCOUNTED = {"id": "c", "choices": CHUNK["choices"], "usage": None}
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def model(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Model]:
    """A remote engine behind TLS, and the model that is declared for it."""
    write_certificate(tmp_path / "engine.pem", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "engine.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "engine.pem")
    application = web.Application()
    application.router.add_post("/v1/chat/completions", engine.handle)
    application.router.add_get("/v1/models", engine.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    yield Model.model_validate(remote_declaration(f"https://127.0.0.1:{port}/v1"))
    await runner.cleanup()


@pytest.fixture
async def backends(model: Model, tmp_path: Path) -> AsyncIterator[Backends]:
    (tmp_path / "engine_token").write_text(TOKEN)
    (tmp_path / "remote_far").write_text(KEY)
    opened = Backends(
        Settings(serve_url="http://127.0.0.1:1", secrets_dir=tmp_path, engine_read_timeout_seconds=5), [model]
    )
    await opened.start()
    yield opened
    await opened.close()


async def ask(backends: Backends, model: Model, body: dict[str, Any] = BODY) -> tuple[list[EngineChunks], bool]:
    """Return what came, and whether its count is an estimate."""
    stream = await backends.ask(Operation.CHAT, model, body, RequestId("req_1"))
    with closing(stream):
        await stream.begun()
        received = [chunks async for chunks in stream if chunks.choices or chunks.usage]
        return received, stream.estimates


async def test_a_remote_engine_gets_its_own_key_and_name_and_nothing_of_the_platforms(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = streamed(event(UNCOUNTED), event(LAST), DONE)
    received, estimated = await ask(backends, model)
    assert (received[-1].usage, estimated) == (USED, False)
    assert engine.bodies == [
        {
            "messages": BODY["messages"],
            "max_tokens": 3,
            "model": "upstream/large",
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    (headers,) = engine.headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert TOKEN not in str(dict(headers))
    sent = "accept-encoding authorization content-length content-type host x-request-id"
    assert sorted(name.lower() for name in headers) == sent.split()


async def test_until_it_reports_a_count_usage_is_an_estimate_within_what_was_asked_for(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    engine.answer = streamed(event(role), *[event(UNCOUNTED)] * 9, DONE)
    received, estimated = await ask(backends, model)
    assert estimated
    assert received[-1].usage == TokenUsage(estimate_of(BODY, 2048).input_tokens, 0, 3)
    engine.answer = streamed(event(role) + event(UNCOUNTED), DONE)
    received, _ = await ask(backends, model)
    assert received[-1].usage is not None
    assert received[-1].usage.output_tokens == 1


@given(st.lists(st.text(max_size=200), min_size=1, max_size=4), st.integers(1, 2048), st.integers(1, 4))
def test_an_estimate_is_never_nothing_and_never_above_the_reservation(texts: list[str], context: int, n: int) -> None:
    body = {"messages": [{"role": "user", "content": text} for text in texts], "max_tokens": 7, "n": n}
    estimate = estimate_of(body, context)
    assert 1 <= estimate.input_tokens <= min(len(orjson.dumps(body)), context)
    assert estimate.output_tokens == 7 * n


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"message": "org-secret", "code": "x"}}, EngineRefused),
        (422, "secret", EngineRefused),
        (401, {"error": {"message": "key sk-secret"}}, EngineFailed),
        (404, "secret", EngineFailed),
        (500, "secret", EngineFailed),
        (502, "secret", EngineFailed),
        (302, "secret", EngineFailed),
        (429, {"error": {"message": "secret"}}, EngineUnavailable),
        (503, "secret", EngineUnavailable),
    ],
)
async def test_its_refusals_are_told_in_our_words(
    backends: Backends, engine: FakeEngine, model: Model, status: int, body: Any, expected: type[Exception]
) -> None:
    engine.answer = refused(status, body)
    with pytest.raises(expected) as raised:
        await ask(backends, model)
    assert "secret" not in str(raised.value)


async def test_too_long_a_prompt_keeps_its_code(backends: Backends, engine: FakeEngine, model: Model) -> None:
    engine.answer = refused(400, {"error": {"message": "m", "code": "context_length_exceeded"}})
    with pytest.raises(EngineRefused) as raised:
        await ask(backends, model)
    assert raised.value.body()["error"]["code"] == "context_length_exceeded"


async def test_a_prompt_is_not_counted_there_and_readiness_costs_no_token(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    with pytest.raises(EngineUnavailable):
        await backends.count_input_tokens(model, BODY, RequestId("req_1"))
    engine.answer = refused(200, "")
    assert await backends.ready(model)
    assert engine.bodies == [None]


async def test_a_remote_engine_without_its_key_stops_the_start(model: Model, tmp_path: Path) -> None:
    (tmp_path / "engine_token").write_text(TOKEN)
    with pytest.raises(ConfigurationError, match="remote_far"):
        await Backends(Settings(secrets_dir=tmp_path), [model]).start()


FIELDS = st.dictionaries(
    st.text(min_size=1, max_size=12) | st.sampled_from(sorted(OPENAI_FIELDS - {"messages"})), st.integers()
)


@given(FIELDS)
def test_no_field_reaches_it_that_is_neither_openais_nor_declared(fields: dict[str, int]) -> None:
    engine = Model.model_validate(remote_declaration("https://models.example")).engine
    assert isinstance(engine, OpenAiEngine)
    known = OPENAI_FIELDS | {"max_tokens", "cache_salt"}
    if fields.keys() <= known:
        set_by_us = {"model", "stream", "stream_options"}
        assert remote_request(fields, engine).keys() - set_by_us == fields.keys() - {"cache_salt"}
    else:
        with pytest.raises(EngineRefused) as raised:
            remote_request(fields, engine)
        assert raised.value.refusal_code == "unsupported_parameter"


def test_what_a_declaration_adds_is_sent_and_no_more() -> None:
    declared: dict[str, Any] = {
        "extensions": ["top_k", "cache_salt"],
        "usage": "running",
        "output_limit_field": "max_completion_tokens",
    }
    engine = Model.model_validate(remote_declaration("https://models.example", **declared)).engine
    assert isinstance(engine, OpenAiEngine)
    sent = remote_request({**BODY, "top_k": 5}, engine)
    assert (sent["top_k"], sent["cache_salt"], sent["max_completion_tokens"]) == (5, "5a17", 3)
    assert "max_tokens" not in sent
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_an_answer_is_continued_only_by_an_engine_that_was_declared_to_do_so() -> None:
    begun = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Once"}], "max_tokens": 3}
    plain = Model.model_validate(remote_declaration("https://models.example")).engine
    able = remote_declaration("https://models.example", extensions=["continue_final_message"])
    continuing = Model.model_validate(able).engine
    assert isinstance(plain, OpenAiEngine)
    assert isinstance(continuing, OpenAiEngine)
    with pytest.raises(EngineRefused, match="does not continue") as raised:
        remote_request(begun, plain)
    assert (raised.value.refusal_code, raised.value.param) == ("unsupported_parameter", "messages")
    sent = remote_request(begun, continuing)
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert "add_generation_prompt" not in remote_request(BODY, continuing)


async def test_a_refusal_on_the_way_is_not_told_in_the_other_sides_words(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    error = {"type": "invalid_request_error", "message": "the operator's account", "code": "x", "param": None}
    engine.answer = streamed(event(CHUNK), event({"error": error}))
    with pytest.raises(EngineFailed) as failed:
        await ask(backends, model)
    assert "account" not in str(failed.value)
