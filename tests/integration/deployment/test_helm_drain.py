"""The chart's drain script: an inference pod stops only when its last client has gone."""

import importlib.util
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(chart: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    specification = importlib.util.spec_from_file_location("drain", chart / "files" / "drain.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    return module


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_drain_ends_when_nobody_is_connected(script: ModuleType, listener: socket.socket) -> None:
    assert script.drain(listener.getsockname()[1], 60, deregistration_seconds=0) is True


def test_drain_waits_for_a_stream_and_ends_with_it(script: ModuleType, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    server, _ = listener.accept()
    outcome: list[bool] = []
    waiting = threading.Thread(target=lambda: outcome.append(script.drain(port, 60, deregistration_seconds=0)))
    waiting.start()
    waiting.join(0.3)
    assert outcome == []
    server.close()
    client.close()
    waiting.join(30)
    assert outcome == [True]


def test_drain_gives_up_after_the_time_it_was_given(script: ModuleType, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        server, _ = listener.accept()
        with server:
            assert script.drain(port, 0.05, deregistration_seconds=0) is False
