"""Readiness of processes: probe them over HTTP, and wait until they are ready or have failed."""

import http.client
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from finpool.installation.home.home import Home
from finpool.installation.pool.engines_file import read_engines
from finpool.installation.process.components import Component, local_url
from finpool.installation.process.processes import last_log_line, log_path, running_process
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings
from finpool.serving.backend.reading import BODY_BYTES_MAX, is_cold
from finpool.serving.schemas import COLD_START_HEADER

_PAUSE_SECONDS = 0.1
_PROBE_SECONDS = 5.0


def answers(url: str) -> bool:
    """Tell whether a GET of `url` returns 200."""
    return _get(url, {})[0] == http.client.OK


def door_answers(settings: Settings, door: Component) -> bool:
    """Tell whether a door is ready, by `/readyz`."""
    return answers(f"{local_url(settings, door)}/readyz")


def engines_answer(settings: Settings) -> bool:
    """Tell whether the pool is ready and each of its engines is healthy, or cold if it may be."""
    state = read_engines(settings.home)
    if state is None:
        return False
    token = settings.secret("engine_token").decode()
    paths = [path for paths in state.engine_paths.values() for path in paths]
    return all(
        _engine_answers(f"{settings.serve_base_url}{path}/health", token, may_sleep=path in state.sleepers)
        for path in paths
    )


def _engine_answers(url: str, token: str, *, may_sleep: bool) -> bool:
    status, body = _get(url, {"Authorization": f"Bearer {token}", COLD_START_HEADER: "leave"})
    return status == http.client.OK or (may_sleep and status == http.client.SERVICE_UNAVAILABLE and is_cold(body))


def _get(url: str, headers: Mapping[str, str]) -> tuple[int | None, bytes]:
    """Return status and body of an answer, or no status without an answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", parts.path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(BODY_BYTES_MAX)
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def wait_until(
    subject: str, ready: Callable[[], bool], home: Home, watched: Sequence[Component], timeout_seconds: float
) -> None:
    """Wait for `ready`; raise `ConfigurationError` with the logs if a watched process ends or the timeout passes."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        for component in watched:
            if running_process(home, component.name) is None:
                raise ConfigurationError(
                    f"{component.name} ended while starting: {last_log_line(home, component.name)}"
                    f" (its log is {log_path(home, component.name)})"
                )
        if ready():
            return
        if time.monotonic() > deadline:
            logs = ", ".join(str(log_path(home, component.name)) for component in watched)
            raise ConfigurationError(f"{subject} is not ready after {timeout_seconds:.0f} seconds; the logs are {logs}")
        time.sleep(_PAUSE_SECONDS)
