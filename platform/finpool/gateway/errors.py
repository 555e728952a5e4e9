"""Errors of the inference path before a request reaches an engine."""

from math import ceil

from finpool.kernel.answer_headers import RETRY_AFTER, retry_after
from finpool.kernel.errors import DomainError, InvalidRequest

RETRY_MS_MIN = 500
RETRY_MS_MAX = 600_000


class InvalidJson(InvalidRequest):
    """The body is not a JSON object."""

    code = "invalid_json"


class UnknownParameter(InvalidRequest):
    """The platform does not know this field; it refuses the request rather than ignore the field."""

    code = "unknown_parameter"


class InvalidValue(InvalidRequest):
    """A known field has a wrong type or a value out of range."""

    code = "invalid_value"


class UnsupportedParameter(InvalidRequest):
    """The model lacks the capability that the field requires."""

    code = "unsupported_parameter"


class IdempotentAnswerTooLarge(InvalidRequest):
    """The answer is larger than an answer that can be kept; send the request without the key."""

    code = "idempotent_answer_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(
            f"The answer is larger than {bytes_max} bytes and cannot be kept."
            " Send the request without an Idempotency-Key.",
            param="idempotency-key",
        )


class QueueRefusal(DomainError):
    """The tenant's queue is full, or the wait for a turn was too long; a retry may succeed.

    `wait_seconds` is the expected wait of the tenant's next request, by the pace of the last turns.
    """

    status = 429
    code = "model_busy"
    type = "rate_limit_error"
    header_names = RETRY_AFTER

    def __init__(self, message: str, wait_seconds: float) -> None:
        headers = _retry_after(wait_seconds)
        super().__init__(f"{message} One more would wait about {headers['retry-after']} seconds.", headers=headers)


class LargeBodiesExceeded(DomainError):
    """The tenant's large requests use more of the processor than its share; smaller ones are served."""

    status = 429
    code = "large_bodies_exceeded"
    type = "rate_limit_error"
    header_names = RETRY_AFTER

    def __init__(self, message: str, wait_seconds: float) -> None:
        headers = _retry_after(wait_seconds)
        super().__init__(f"{message} Send the next one in {headers['retry-after']} seconds.", headers=headers)


def _retry_after(wait_seconds: float) -> dict[str, str]:
    return retry_after(min(max(ceil(wait_seconds * 1000), RETRY_MS_MIN), RETRY_MS_MAX))
