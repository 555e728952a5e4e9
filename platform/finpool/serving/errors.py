"""How an engine can fail a request, as its caller sees it."""

from finpool.kernel.errors import DomainError, InvalidRequest, Unavailable


class ConnectionBroken(Exception):
    """A backend ended the connection before its answer was whole, or does not speak HTTP/1.1."""


class EngineUnavailable(Unavailable):
    """The engine cannot be reached, is starting or is full, and has computed nothing: trying again is safe."""

    code = "engine_unavailable"


class EngineBusy(EngineUnavailable):
    """The engine says that it has enough to do: it works."""


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
