"""Reading an exchange with a backend, whatever goes wrong told as the gateway's callers know it."""

import orjson

from finpool.serving.errors import ConnectionBroken, EngineBusy, EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.exchange import Exchange

BODY_BYTES_MAX = 65_536
BUSY = 429
STATUSES_BEFORE_DISPATCH = frozenset({404, 502, 503, 504})
"""What Serve's proxy answers while an application is missing, starting or full."""


async def status_of(exchange: Exchange, seconds_max: float) -> int:
    """Return the answer's status; raises `EngineUnavailable` if none comes in time, `EngineFailed` if none can come."""
    try:
        return await exchange.head(seconds_max)
    except TimeoutError as error:
        raise EngineUnavailable("The model did not begin to answer in time.") from error
    except ConnectionBroken as error:  # It was reached, and may have computed something before it broke.
        raise EngineFailed("The connection to the model broke.") from error


async def read(exchange: Exchange, seconds_max: float) -> bytes:
    """Return what has arrived of the body, nothing at its end; raises `EngineFailed` if neither comes."""
    try:
        return await exchange.read(seconds_max)
    except TimeoutError as error:
        raise EngineFailed("The model stopped answering.") from error
    except ConnectionBroken as error:
        raise EngineFailed("The connection to the model broke.") from error


async def read_body(
    exchange: Exchange, body: bytearray, seconds_max: float, *, bytes_max: int = BODY_BYTES_MAX
) -> None:
    """Read a body to its end into `body`, which keeps what has come if this is cancelled."""
    while received := await read(exchange, seconds_max):
        body += received
        if len(body) > bytes_max:
            raise EngineFailed("The model failed to answer.")


def refusal(status: int, content_type: str, body: bytes) -> EngineRefused | EngineUnavailable | EngineFailed:
    """Return the error that stands for an answer other than 200.

    Engines report in JSON. What is not JSON comes from Serve's proxy, which says 500 also where it found no engine.
    """
    if status == BUSY:
        return EngineBusy("The model is busy.")
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
