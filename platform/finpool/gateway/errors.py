"""How the inference path refuses a request before an engine sees it."""

from math import ceil

from finpool.kernel.errors import DomainError, InvalidRequest

RETRY_MS_MIN = 500
RETRY_MS_MAX = 600_000


class UnsupportedContentType(InvalidRequest):
    """The body is not declared as JSON."""

    status = 415
    code = "unsupported_content_type"


class InvalidJson(InvalidRequest):
    """The body is not a JSON object."""

    code = "invalid_json"


class UnknownParameter(InvalidRequest):
    """A field that the platform does not know; it is refused rather than passed on or ignored."""

    code = "unknown_parameter"


class InvalidValue(InvalidRequest):
    """A known field with a wrong type or a value out of range."""

    code = "invalid_value"


class UnsupportedParameter(InvalidRequest):
    """The model does not have the capability the field asks for."""

    code = "unsupported_parameter"


class IdempotencyUnsupported(InvalidRequest):
    """An idempotency key would not be honoured, so the request is refused rather than served twice one day."""

    code = "idempotency_unsupported"


class QueueRefusal(DomainError):
    """The model is busy and the tenant's queue is full, or its wait was too long; trying again may help.

    `wait_seconds` is how long one more request of the tenant would wait, by the pace of the last turns.
    """

    status = 429
    code = "model_busy"
    type = "rate_limit_error"

    def __init__(self, message: str, wait_seconds: float) -> None:
        wait_ms = min(max(ceil(wait_seconds * 1000), RETRY_MS_MIN), RETRY_MS_MAX)
        told = f"{message} One more would wait about {-(-wait_ms // 1000)} seconds."
        super().__init__(told, headers={"retry-after-ms": str(wait_ms), "retry-after": str(-(-wait_ms // 1000))})
