"""How an engine can fail a request, as its caller sees it."""

import math

from finpool.kernel.errors import DomainError, InvalidRequest, Unavailable

LOAD_SECONDS = 30
"""What a caller is told to wait for a model whose loading was never measured."""


class ConnectionBroken(Exception):
    """A backend ended the connection before its answer was whole, or does not speak HTTP/1.1."""


class EngineUnavailable(Unavailable):
    """The engine cannot be reached, is starting or is full, and has computed nothing: trying again is safe."""

    code = "engine_unavailable"


class EngineBusy(EngineUnavailable):
    """The engine says that it has enough to do: it works."""


class ModelCold(EngineUnavailable):
    """The engine sleeps and is being woken: it works, and the headers say when it is likely to be awake."""

    code = "model_cold"

    def __init__(self, load_ms: int | None = None) -> None:
        """Take how long it took to load when that was measured."""
        seconds = LOAD_SECONDS if load_ms is None else max(1, math.ceil(load_ms / 1000))
        super().__init__(
            "The model sleeps and is being woken.",
            headers={"retry-after": str(seconds), "retry-after-ms": str(seconds * 1000)},
        )


class EngineFailed(DomainError):
    """The engine accepted the request and then failed; what it had counted until then was computed."""

    status = 500
    code = "engine_error"


class EngineRefused(InvalidRequest):
    """The engine cannot serve this request as it is, and says why; it has computed nothing."""

    code = "invalid_request"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.refusal_code = code or self.code

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error in OpenAI's shape, with the engine's own code (for example `context_length_exceeded`)."""
        shape = super().body()
        shape["error"]["code"] = self.refusal_code
        return shape
