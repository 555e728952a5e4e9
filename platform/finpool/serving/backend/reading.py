"""Reads the answer of an HTTP call to a backend; every fault becomes one of the gateway's errors."""

import orjson

from finpool.serving.errors import (
    ConnectionBroken,
    EngineBusy,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    ModelCold,
)
from finpool.serving.transport.connection import HttpCall

BODY_BYTES_MAX = 65_536
BUSY = 429
STATUSES_BEFORE_DISPATCH = frozenset({404, 502, 503, 504})
"""What Serve's proxy answers while an application is missing, starting or full."""


async def status_of(call: HttpCall, seconds_max: float) -> int:
    """Return the answer's status; raises `EngineUnavailable` if none comes in time, `EngineFailed` if none can come."""
    try:
        return await call.head(seconds_max)
    except TimeoutError as error:
        raise EngineUnavailable("The model did not begin to answer in time.") from error
    except ConnectionBroken as error:  # It was reached, and may have computed something before it broke.
        raise EngineFailed("The connection to the model broke.") from error


async def read(call: HttpCall, seconds_max: float) -> bytes:
    """Return what has arrived of the body, nothing at its end; raises `EngineFailed` if neither comes."""
    try:
        return await call.read(seconds_max)
    except TimeoutError as error:
        raise EngineFailed("The model stopped answering.") from error
    except ConnectionBroken as error:
        raise EngineFailed("The connection to the model broke.") from error


async def read_body(call: HttpCall, body: bytearray, seconds_max: float, *, bytes_max: int = BODY_BYTES_MAX) -> None:
    """Read a body to its end into `body`, which keeps what has come if this is cancelled."""
    while received := await read(call, seconds_max):
        body += received
        if len(body) > bytes_max:
            raise EngineFailed("The model failed to answer.")


def is_cold(body: bytes) -> bool:
    """Tell whether an answer of 503 says that the engine has no replica because nobody has asked it for a while."""
    try:
        return bool(orjson.loads(body)["error"]["code"] == ModelCold.code)
    except (ValueError, LookupError, TypeError):
        return False


def refusal(
    status: int, content_type: str, body: bytes, load_ms: int | None = None
) -> EngineRefused | EngineUnavailable | EngineFailed:
    """Return the error that stands for an answer other than 200.

    `load_ms` is how long the engine took to load, if that is known. Engines report in JSON. What is not JSON comes from
    Serve's proxy, which says 500 also where it found no engine.
    """
    if status == BUSY:
        return EngineBusy("The model is busy.")
    if status == ModelCold.status and is_cold(body):
        return ModelCold(load_ms)
    if status in STATUSES_BEFORE_DISPATCH or content_type != "application/json":
        return EngineUnavailable("The model is not available at the moment.")
    try:
        reported = orjson.loads(body)["error"]
        message, code, param = str(reported["message"]), reported.get("code"), reported.get("param")
    except (ValueError, LookupError, TypeError, AttributeError):
        return EngineFailed("The model failed to answer.")
    if status == 400:
        return EngineRefused(message, code=code, param=param)
    return EngineFailed("The model failed to answer.")
