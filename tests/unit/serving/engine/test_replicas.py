"""Serve's options for an engine's replicas, and its proxy's answers while there is none."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from scripted_engine import LAST, USED, FakeEngine, event, refused, streamed

from finpool.catalogue.model.engine import LlamaCppEngine
from finpool.catalogue.model.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.kernel.settings import Settings
from finpool.serving.backend.breaker import Breaker, BreakerState
from finpool.serving.backend.service import Backends
from finpool.serving.engine.replicas import replica_options
from finpool.serving.engine.routes_cold import ColdStartMiddleware
from finpool.serving.errors import LOAD_SECONDS, EngineFailed, EngineUnavailable, ModelCold
from finpool.serving.schemas import COLD_START_HEADER, EXPECTED_SERVICE_HEADER, Operation

COLD = ModelCold().body()
HEADER = COLD_START_HEADER.encode()
CHAT = "/engines/small/1/v1/chat/completions"


def engine_with(**changes: Any) -> LlamaCppEngine:
    return LlamaCppEngine.model_validate({"name": "llamacpp", "slots": 4, "threads": 1, **changes})


def sleeping(model: Model, cold_start: str) -> Model:
    return model.model_copy(update={"engine": engine_with(replicas_min=0, cold_start=cold_start)})


async def chat(backends: Backends, model: Model, load_ms: int | None = None) -> Any:
    stream = await backends.ask(Operation.CHAT, model, {"messages": []}, RequestId("req_1"), load_ms=load_ms)
    try:
        await stream.begun()
        return [chunks.usage async for chunks in stream][-1]
    finally:
        stream.close()


def test_serve_is_told_between_which_bounds_replicas_come_and_go() -> None:
    engine = engine_with(replicas_min=0, replicas_max=3, idle_seconds=60)
    scaling = replica_options(engine, Settings(), asleep=False)["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["initial_replicas"]) == (0, 3, 1)
    assert scaling["target_ongoing_requests"] == engine.slots
    assert scaling["downscale_delay_s"] == scaling["downscale_to_zero_delay_s"] == 60


@pytest.mark.parametrize("upscale_seconds", [0.5, 10, 600])
def test_serve_adds_a_replica_after_the_set_time_and_measures_the_load_more_often(upscale_seconds: float) -> None:
    settings = Settings(engine_upscale_seconds=upscale_seconds)
    scaling = replica_options(engine_with(replicas_max=2), settings, asleep=False)["autoscaling_config"]
    assert scaling["upscale_delay_s"] == upscale_seconds
    assert scaling["metrics_interval_s"] < scaling["look_back_period_s"]


def test_an_engine_that_was_tested_before_can_begin_asleep_if_it_may_sleep() -> None:
    for replicas_min, first in ((0, 0), (2, 2)):
        engine = engine_with(replicas_min=replicas_min, replicas_max=2)
        scaling = replica_options(engine, Settings(), asleep=True)["autoscaling_config"]
        assert scaling["initial_replicas"] == first


@pytest.mark.parametrize("replicas_max", [1, 8, 64])
def test_what_a_gateway_sends_at_once_finds_room_while_one_replica_is_up(replicas_max: int) -> None:
    options = replica_options(engine_with(replicas_max=replicas_max), Settings(), asleep=False)
    assert options["max_ongoing_requests"] + options["max_queued_requests"] > 4 * replicas_max


class Serve:
    """Serve's proxy behind the door: it keeps what comes through, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[tuple[bytes, bytes]]]] = []
        self.awake = asyncio.Event()

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        self.asked.append((scope["method"], scope["path"], scope["headers"]))
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        await self.awake.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"awake"})


async def at_the_door(door: ColdStartMiddleware, path: str = CHAT, *headers: tuple[bytes, bytes]) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": [*headers]}
    await door(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_a_request_that_says_nothing_goes_to_serve_and_waits_there() -> None:
    serve = Serve()
    waiting = asyncio.create_task(at_the_door(ColdStartMiddleware(serve)))
    await asyncio.sleep(0)
    assert [(method, path) for method, path, _ in serve.asked] == [("POST", CHAT)]
    serve.awake.set()
    assert await waiting == (200, b"awake")


async def test_a_request_that_is_refused_is_answered_at_once_and_wakes_the_engine_once() -> None:
    serve = Serve()
    door = ColdStartMiddleware(serve)
    token = (b"authorization", b"Bearer t")
    for path in (CHAT, CHAT, "/engines/small/1/tokenize", "/engines/other/1/tokenize"):
        status, body = await at_the_door(door, path, token, (HEADER, b"refuse"), (b"x-request-id", b"req_1"))
        assert (status, json.loads(body)) == (503, COLD)
        await asyncio.sleep(0)
    small, other = ("GET", "/engines/small/1/health", [token]), ("GET", "/engines/other/1/health", [token])
    assert serve.asked == [small, other]
    serve.awake.set()
    await asyncio.gather(*door._waking.values())
    await asyncio.sleep(0)
    await at_the_door(door, CHAT, token, (HEADER, b"refuse"))
    await asyncio.sleep(0)
    assert serve.asked == [small, other, small]


async def test_a_probe_leaves_an_engine_asleep() -> None:
    serve = Serve()
    status, body = await at_the_door(ColdStartMiddleware(serve), "/engines/small/1/health", (HEADER, b"leave"))
    assert (status, json.loads(body), serve.asked) == (503, COLD, [])


@pytest.mark.parametrize(("load_ms", "seconds"), [(None, LOAD_SECONDS), (1, 1), (2001, 3), (90_000, 90)])
async def test_a_refused_caller_is_told_how_long_the_model_takes_to_load(
    backends: Backends, engine: FakeEngine, model: Model, load_ms: int | None, seconds: int
) -> None:
    engine.answer = refused(503, COLD)
    with pytest.raises(ModelCold) as cold:
        await chat(backends, sleeping(model, "refuse"), load_ms)
    assert (cold.value.status, cold.value.code) == (503, "model_cold")
    assert cold.value.headers == {"retry-after": str(seconds), "retry-after-ms": str(seconds * 1000)}


async def test_engines_are_told_what_the_policy_says(backends: Backends, engine: FakeEngine, model: Model) -> None:
    engine.answer = streamed(event(LAST), b"data: [DONE]\n\n")
    for asked, said in ((sleeping(model, "refuse"), "refuse"), (sleeping(model, "queue"), None), (model, None)):
        assert await chat(backends, asked) == USED
        assert engine.headers[-1].get(COLD_START_HEADER) == said


async def test_an_engine_that_sleeps_is_ready_if_it_may_and_nobody_wakes_it_to_ask(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = refused(503, COLD)
    assert await backends.ready(sleeping(model, "queue"))
    assert not await backends.ready(model)
    with pytest.raises(ModelCold):
        await backends.figures(sleeping(model, "queue"), "/usage")
    assert {headers[COLD_START_HEADER] for headers in engine.headers} == {"leave"}
    engine.answer = refused(503, {"error": {"message": "full", "code": "engine_unavailable"}})
    assert not await backends.ready(sleeping(model, "queue"))


def state_of(breaker: Breaker) -> BreakerState:
    """Read the state anew: a type checker takes an attribute for unchanged."""
    return breaker.state


def test_an_engine_that_sleeps_has_not_failed() -> None:
    breaker = Breaker("sleeper", failures_max=2, open_seconds=5)
    for failure in (EngineUnavailable("away"), ModelCold(), ModelCold(), ModelCold()):
        permit = breaker.enter()
        with pytest.raises(type(failure)), permit:
            raise failure
        permit.end(worked=False)
    assert state_of(breaker) is BreakerState.CLOSED
    permit = breaker.enter()
    permit.note(EngineFailed("broke"))
    permit.end(worked=False)
    assert state_of(breaker) is BreakerState.OPEN


async def test_an_engine_of_the_pool_is_told_what_a_request_is_expected_to_take(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = streamed(event(LAST), b"data: [DONE]\n\n")
    await chat(backends, model)
    stream = await backends.ask(Operation.CHAT, model, {"messages": []}, RequestId("req_2"), expected_service=321)
    await stream.begun()
    stream.close()
    assert [headers.get(EXPECTED_SERVICE_HEADER) for headers in engine.headers] == [None, "321"]
