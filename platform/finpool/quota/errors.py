"""Errors of a request over a limit. Status and headers tell the client whether a retry can succeed."""

from finpool.kernel.answer_headers import BUDGET, RATE_LIMITS, RETRY_AFTER, SHOULD_RETRY, retry_after
from finpool.kernel.errors import DomainError, InvalidRequest, NotFound


class InsufficientQuota(DomainError):
    """A budget does not cover the largest cost of the request; a retry fails too. `left_picos` is the budget's rest."""

    status = 429
    code = "insufficient_quota"
    type = "insufficient_quota"
    header_names = (SHOULD_RETRY, *BUDGET)

    def __init__(self, message: str, headers: dict[str, str] | None = None, left_picos: int = 0) -> None:
        super().__init__(message, headers={"x-should-retry": "false", **(headers or {})})
        self.left_picos = left_picos


class RateLimitExceeded(DomainError):
    """A rate or the concurrency is exhausted; a retry after `retry-after-ms` may succeed.

    `left_tokens` is the rest of a token rate that does not suffice, else None.
    """

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    header_names = (*RETRY_AFTER, *RATE_LIMITS)

    def __init__(self, message: str, retry_after_ms: int, left_tokens: int | None = None) -> None:
        super().__init__(message, headers=retry_after(retry_after_ms))
        self.left_tokens = left_tokens


class RequestAboveLimit(DomainError):
    """One request alone exceeds a rate or the concurrency, which may be 0; a retry fails too.

    `left_tokens` is the rest of a token rate that does not suffice, else None.
    """

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    header_names = (SHOULD_RETRY, *RATE_LIMITS)

    def __init__(self, message: str, left_tokens: int | None = None) -> None:
        super().__init__(message, headers={"x-should-retry": "false"})
        self.left_tokens = left_tokens


class QuotaUnavailable(DomainError):
    """This replica's leases do not suffice and the account does not answer, so the request is refused with a retry."""

    status = 429
    code = "quota_unavailable"
    type = "rate_limit_error"
    header_names = RETRY_AFTER

    def __init__(self) -> None:
        super().__init__(
            "The account cannot be reached to cover this request; try again shortly.",
            headers=retry_after(1000),
        )


class LimitSubjectNotFound(NotFound):
    """The limit names a project, key or model that the tenant does not have."""

    code = "limit_subject_not_found"

    def __init__(self, scope: str, scope_id: str) -> None:
        super().__init__(f"The tenant has no {scope} '{scope_id}'.", param="scope_id")


class TooManyLimits(InvalidRequest):
    """The party has already set limits on `limits_max` scopes of the tenant."""

    code = "too_many_limits"

    def __init__(self, limits_max: int) -> None:
        super().__init__(f"Limits are set on {limits_max} scopes of this tenant already; change one of these.")
