"""Refusals of requests with an `Idempotency-Key`."""

from finpool.kernel.answer_headers import RETRY_AFTER, SHOULD_RETRY, retry_after
from finpool.kernel.errors import DomainError, InvalidRequest, Unavailable

PARAM = "idempotency-key"


class InvalidIdempotencyKey(InvalidRequest):
    """The key is empty, longer than 255 characters, or has a character that is not printable ASCII."""

    code = "invalid_idempotency_key"

    def __init__(self) -> None:
        super().__init__("An Idempotency-Key has 1 to 255 printable ASCII characters.", param=PARAM)


class IdempotencyKeyReused(InvalidRequest):
    """The key belongs to another request: another body, route or project; use a new key for a new request."""

    status = 422
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key belongs to another request of the last 24 hours: another body, route or project."
            " Use a new key for a new request.",
            param=PARAM,
        )


class IdempotentRequestRunning(InvalidRequest):
    """The first request with this key is still running; try again later with the same key and body."""

    status = 409
    code = "idempotent_request_running"
    header_names = RETRY_AFTER

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(
            f"The first request with this Idempotency-Key is still running. Try again in {wait_seconds} seconds.",
            param=PARAM,
            headers=retry_after(wait_seconds * 1000),
        )


class IdempotencyLimitExceeded(DomainError):
    """The tenant has too many keys or kept answers of the last 24 hours; requests without a key go on."""

    status = 429
    code = "idempotency_limit_exceeded"
    type = "rate_limit_error"
    header_names = (SHOULD_RETRY,)

    def __init__(self, message: str) -> None:
        super().__init__(message, param=PARAM, headers={SHOULD_RETRY: "false"})


class TooManyReplays(DomainError):
    """Too many kept answers are being sent to this tenant at once; try again."""

    status = 429
    code = "too_many_replays"
    type = "rate_limit_error"
    header_names = RETRY_AFTER

    def __init__(self) -> None:
        super().__init__(
            "Too many kept answers are being sent to you at once.",
            param=PARAM,
            headers=retry_after(1000),
        )


class IdempotencyUnavailable(Unavailable):
    """The database of idempotency keys cannot be reached; requests without a key go on."""

    code = "idempotency_unavailable"

    def __init__(self) -> None:
        super().__init__("The database of idempotency keys cannot be reached; try again shortly.", param=PARAM)
