"""Errors of engines and of the connections to them."""

import math

from finpool.kernel.answer_headers import RETRY_AFTER, retry_after
from finpool.kernel.errors import DomainError, InvalidRequest, Unavailable

LOAD_SECONDS = 30
"""The retry delay for a cold model whose load time was never measured."""

BUSY_RETRY_MS = 1_000
BUSY_RETRY_MS_MIN = 100
BUSY_RETRY_MS_MAX = 600_000

CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
"""OpenAI's code for a request that is longer than the model's context."""


class ConnectionBroken(Exception):
    """A backend ended the connection before the answer was complete, or does not speak HTTP/1.1."""


class EngineUnavailable(Unavailable):
    """The engine is unreachable, starting or full, and has computed nothing: a retry is safe."""

    code = "engine_unavailable"
    header_names = RETRY_AFTER


class EngineLate(EngineUnavailable):
    """The engine has not begun its answer in time; it may be computing, or it hangs."""


class EngineBusy(EngineUnavailable):
    """The engine works, but reports that it is full; the headers give the wait that it named, or a second.

    The code and the status are those of a full queue, because they mean the same to a client.
    """

    status = 429
    code = "model_busy"
    type = "rate_limit_error"

    def __init__(self, retry_ms: int | None = None) -> None:
        """Set the retry delay, within `BUSY_RETRY_MS_MIN` and `BUSY_RETRY_MS_MAX`."""
        wait = BUSY_RETRY_MS if retry_ms is None else min(max(retry_ms, BUSY_RETRY_MS_MIN), BUSY_RETRY_MS_MAX)
        super().__init__("The model is busy.", headers=retry_after(wait))


class ModelCold(EngineUnavailable):
    """The engine is cold and is being started; the headers give the expected wait."""

    code = "model_cold"

    def __init__(self, load_ms: int | None = None) -> None:
        """Set the retry delay to the measured load time, or to `LOAD_SECONDS`."""
        seconds = LOAD_SECONDS if load_ms is None else max(1, math.ceil(load_ms / 1000))
        super().__init__(
            "The model sleeps and is being woken.",
            headers=retry_after(seconds * 1000),
        )


class EngineFailed(DomainError):
    """The engine accepted the request and then failed; its counts up to then are real."""

    status = 500
    code = "engine_error"


class EngineSilent(EngineFailed):
    """The engine has sent nothing of a begun answer in time; it may be computing, or it hangs."""


class EngineRefused(InvalidRequest):
    """The engine refuses the request with a reason; it has computed nothing."""

    code = "invalid_request"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.refusal_code = code or self.code

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error in OpenAI's shape, with the engine's own code (for example `context_length_exceeded`)."""
        shape = super().body()
        shape["error"]["code"] = self.refusal_code
        return shape

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Return the codes of the engines too."""
        return {
            **super().meanings(),
            CONTEXT_LENGTH_EXCEEDED: "The messages, or one of the inputs, do not fit the model.",
        }
