"""An engine whose answers a test scripts, and ports to serve on."""

import socket
from collections.abc import AsyncIterator, Iterator
from functools import cache

import pytest
from aiohttp import web
from answers_with_connections import HeldConnections
from documented_answers import CheckedIngress
from scripted_engine import MODEL, ScriptedEngine

from finpool.policy.decisions import shadow_load

_proved_once = cache(shadow_load)


def unused_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session", autouse=True)
def doors_are_checked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finpool.kernel.door.door.Ingress", CheckedIngress)
        with HeldConnections().watched():
            yield


@pytest.fixture(autouse=True)
def policies_are_proved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the decisions of equal policies: to prove them again takes a quarter of the time of a test of a door."""
    monkeypatch.setattr("finpool.policy.service.shadow_load", _proved_once)


@pytest.fixture(autouse=True)
def every_answer_is_documented(doors_are_checked: None) -> Iterator[None]:
    """Fail a test in which a door gave an answer that its OpenAPI document does not describe."""
    CheckedIngress.faults.clear()
    yield
    assert CheckedIngress.faults == []


@pytest.fixture(autouse=True)
def no_answer_is_computed_with_a_connection(doors_are_checked: None) -> Iterator[None]:
    """Fail a test in which a request computed its answer while it held a connection of a pool."""
    HeldConnections.faults.clear()
    yield
    assert HeldConnections.faults == []


@pytest.fixture
async def engine_port() -> int:
    return unused_port()


@pytest.fixture
async def engine(engine_port: int) -> AsyncIterator[ScriptedEngine]:
    scripted = ScriptedEngine()
    app = web.Application()
    app.router.add_post(f"/engines/{MODEL}/{{version}}/v1/chat/completions", scripted.chat)
    app.router.add_post(f"/engines/{MODEL}/{{version}}/v1/completions", scripted.complete)
    app.router.add_post(f"/engines/{MODEL}/{{version}}/tokenize", scripted.tokenize)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", engine_port).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
def free_port() -> int:
    """A port to serve on."""
    return unused_port()
