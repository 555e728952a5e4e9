"""Text completions on an engine of somebody else's: what reaches it, and how its answer is read and counted."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from remote_model import KEY, remote_declaration
from scripted_engine import LAST, USED, FakeEngine, event, refused, streamed

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import Model, TokenUsage
from finpool.gateway.request.completion import CompletionRequest
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.remote_completions import completion_estimate_of, remote_completion_request
from finpool.serving.backend.service import Backends
from finpool.serving.errors import EngineFailed, EngineRefused
from finpool.serving.schemas import EngineChunks, Operation

BODY: dict[str, Any] = {"prompt": ["A bank"], "max_tokens": 3, "cache_salt": "5a17"}
CHUNK = {"id": "c", "choices": [{"index": 0, "text": "is", "logprobs": None, "finish_reason": None}]}
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    far = FakeEngine()
    application = web.Application()
    application.router.add_post("/v1/completions", far.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    far.port = runner.addresses[0][1]
    yield far
    await runner.cleanup()


@pytest.fixture
def model(engine: FakeEngine) -> Model:
    return Model.model_validate(remote_declaration(f"http://127.0.0.1:{engine.port}/v1", text_completions=True))


@pytest.fixture
async def backends(model: Model, tmp_path: Path) -> AsyncIterator[Backends]:
    (tmp_path / "engine_token").write_text("e" * 40)
    (tmp_path / "remote_far").write_text(KEY)
    settings = Settings(serve_url="http://127.0.0.1:1", secrets_dir=tmp_path, engine_read_timeout_seconds=5)
    opened = Backends(settings, [model])
    await opened.start()
    yield opened
    await opened.close()


async def ask(backends: Backends, model: Model, body: dict[str, Any] = BODY) -> tuple[list[EngineChunks], bool]:
    """Return what came, and whether its count is an estimate."""
    stream = await backends.ask(Operation.COMPLETE, model, body, RequestId("req_1"))
    with closing(stream):
        await stream.begun()
        received = [chunks async for chunks in stream if chunks.choices or chunks.usage]
        return received, stream.estimates


def declared(**engine: Any) -> OpenAiEngine:
    return OpenAiEngine.model_validate(remote_declaration("https://models.example/v1", **engine)["engine"])


async def test_the_request_is_openais_and_the_answer_has_the_shape_of_a_chat(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = streamed(event(CHUNK), event(LAST), DONE)
    received, estimated = await ask(backends, model)
    assert (received[-1].usage, estimated) == (USED, False)
    (choice,) = received[0].choices[0]
    assert (choice["index"], choice["delta"], choice["finish_reason"]) == (0, {"content": "is"}, None)
    assert engine.bodies == [
        {
            "prompt": "A bank",
            "max_tokens": 3,
            "model": "upstream/large",
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_several_prompts_go_as_a_list_and_log_probabilities_as_a_number() -> None:
    asked = {"model": "m", "prompt": ["a", "b"], "n": 2, "logprobs": 0, "stop": ".", "echo": False, "user": "u"}
    body = CompletionRequest.model_validate(asked).engine_body(7)
    sent = remote_completion_request(body, declared(output_limit_field="max_completion_tokens"))
    kept = {name: sent[name] for name in ("prompt", "n", "logprobs", "stop", "max_tokens")}
    assert kept == {"prompt": ["a", "b"], "n": 2, "logprobs": 0, "stop": ["."], "max_tokens": 7}
    assert not {"echo", "user", "cache_salt", "top_logprobs"} & sent.keys()


def test_a_salt_is_sent_only_to_an_engine_that_declares_it() -> None:
    assert "cache_salt" not in remote_completion_request(BODY, declared())
    assert remote_completion_request(BODY, declared(extensions=["cache_salt"]))["cache_salt"] == "5a17"


async def test_without_a_count_usage_is_an_estimate_within_the_longest_answers(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = streamed(*[event(CHUNK)] * 9, DONE)
    received, estimated = await ask(backends, model)
    assert estimated
    assert received[-1].usage == TokenUsage(2, 0, 3)


PROMPTS = st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8)


@given(PROMPTS, st.integers(1, 4), st.integers(1, 2048))
def test_an_estimate_is_never_nothing_and_never_above_the_reservation(prompts: list[str], n: int, context: int) -> None:
    model = Model.model_validate(remote_declaration("https://models.example")).model_copy(
        update={"context_tokens": context}
    )
    request = CompletionRequest.model_validate({"model": "m", "prompt": prompts, "n": n})
    estimate = completion_estimate_of(request.engine_body(7), context)
    assert len(prompts) <= estimate.input_tokens <= request.input_tokens_bound(model)
    assert estimate.output_tokens == 7 * n * len(prompts)


async def test_a_prompt_beyond_its_context_is_refused_by_name(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = refused(400, {"error": {"message": "secret", "code": "context_length_exceeded"}})
    with pytest.raises(EngineRefused) as raised:
        await ask(backends, model)
    assert (raised.value.param, raised.value.refusal_code) == ("prompt", "context_length_exceeded")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("choice", [{"index": 0}, {"index": 0, "text": 7}, {"index": 0, "delta": {"content": "a"}}, 7])
async def test_an_answer_of_another_shape_fails(
    backends: Backends, engine: FakeEngine, model: Model, choice: Any
) -> None:
    engine.answer = streamed(event(CHUNK), event({"choices": [choice]}), DONE)
    with pytest.raises(EngineFailed):
        await ask(backends, model)
