"""A hub on this machine, for tests that fetch weights."""

import threading
from collections.abc import Iterator

import pytest
from fake_hub import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
