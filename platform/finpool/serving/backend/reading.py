"""Reading a backend's answer; every transport fault becomes `EngineUnavailable` or `EngineFailed`."""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import orjson

from finpool.kernel.clock import now
from finpool.serving.errors import (
    ConnectionBroken,
    EngineBusy,
    EngineFailed,
    EngineLate,
    EngineRefused,
    EngineSilent,
    EngineUnavailable,
    ModelCold,
)
from finpool.serving.transport.connection import HttpCall

BODY_BYTES_MAX = 65_536
BUSY = 429
STATUSES_BEFORE_DISPATCH = frozenset({404, 502, 503, 504})
"""Statuses of Serve's proxy for an application that is missing, starting or full."""


async def status_of(call: HttpCall, seconds_max: float) -> int:
    """Return the answer's status; raise `EngineLate` on a timeout, `EngineFailed` on a broken connection."""
    try:
        return await call.head(seconds_max)
    except TimeoutError as error:
        raise EngineLate("The model did not begin to answer in time.") from error
    except ConnectionBroken as error:  # The backend got the request and may have computed a part of it.
        raise EngineFailed("The connection to the model broke.") from error


async def read(call: HttpCall, seconds_max: float) -> bytes:
    """Return received bytes of the body, empty at its end.

    Raises `EngineSilent` on a timeout, `EngineFailed` on a broken connection.
    """
    try:
        return await call.read(seconds_max)
    except TimeoutError as error:
        raise EngineSilent("The model stopped answering.") from error
    except ConnectionBroken as error:
        raise EngineFailed("The connection to the model broke.") from error


async def read_body(call: HttpCall, body: bytearray, seconds_max: float, *, bytes_max: int = BODY_BYTES_MAX) -> None:
    """Read the rest of the body into `body`, which keeps its bytes if this call is cancelled.

    Raises `EngineFailed` for more than `bytes_max` bytes.
    """
    while received := await read(call, seconds_max):
        body += received
        if len(body) > bytes_max:
            raise EngineFailed("The model failed to answer.")


def is_cold(body: bytes) -> bool:
    """Tell whether the body of a 503 reports a cold engine, one that has no replica."""
    try:
        return bool(orjson.loads(body)["error"]["code"] == ModelCold.code)
    except (ValueError, LookupError, TypeError):
        return False


def busy(call: HttpCall) -> EngineBusy:
    """Return the error for an engine that is full, with the wait that its answer names."""
    return EngineBusy(wait_ms(call.retry_after))


def wait_ms(retry_after: Mapping[bytes, bytes]) -> int | None:
    """Return the wait of the headers `retry-after-ms` and `retry-after`, or None without a valid one.

    The second is in seconds, or a date.
    """
    exact, rough = (retry_after.get(name, b"").decode("latin-1") for name in (b"retry-after-ms", b"retry-after"))
    for value, milliseconds in ((exact, 1), (rough, 1000)):
        try:
            return math.ceil(float(value) * milliseconds)
        except (ValueError, OverflowError):
            continue
    try:
        return math.ceil((parsedate_to_datetime(rough) - now()).total_seconds() * 1000)
    except (ValueError, TypeError):
        return None


def refusal(
    status: int, content_type: str, body: bytes, load_ms: int | None = None
) -> EngineRefused | EngineUnavailable | EngineFailed:
    """Return the error for an answer with a status other than 200.

    `load_ms` is the measured load time of the engine, if known. Engines report errors in JSON; other content comes from
    Serve's proxy, which also answers 500 if it finds no engine.
    """
    if status == BUSY:
        return EngineBusy()
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
