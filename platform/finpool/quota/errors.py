"""Why a request is over a limit. The status and headers tell the client whether to try again."""

from finpool.kernel.errors import DomainError, InvalidRequest, NotFound


class InsufficientQuota(DomainError):
    """A budget does not cover what the request may cost; trying again does not help. `left_picos`: what it covers."""

    status = 429
    code = "insufficient_quota"
    type = "insufficient_quota"

    def __init__(self, message: str, headers: dict[str, str] | None = None, left_picos: int = 0) -> None:
        super().__init__(message, headers={"x-should-retry": "false", **(headers or {})})
        self.left_picos = left_picos


class RateLimitExceeded(DomainError):
    """A rate or the concurrency is exhausted; trying again after `retry-after-ms` may help.

    `left_tokens` is what is left if it is tokens that do not suffice.
    """

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"

    def __init__(self, message: str, retry_after_ms: int, left_tokens: int | None = None) -> None:
        seconds = -(-retry_after_ms // 1000)
        super().__init__(message, headers={"retry-after-ms": str(retry_after_ms), "retry-after": str(seconds)})
        self.left_tokens = left_tokens


class RequestAboveLimit(DomainError):
    """One request alone is above a rate or the concurrency, which may be 0; trying again does not help.

    `left_tokens` is what is left if it is tokens that do not suffice.
    """

    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"

    def __init__(self, message: str, left_tokens: int | None = None) -> None:
        super().__init__(message, headers={"x-should-retry": "false"})
        self.left_tokens = left_tokens


class QuotaUnavailable(DomainError):
    """This replica's lease is spent and the account cannot be reached: refuse, and let the client try again."""

    status = 429
    code = "quota_unavailable"
    type = "rate_limit_error"

    def __init__(self) -> None:
        super().__init__(
            "The account cannot be reached to cover this request; try again shortly.",
            headers={"retry-after-ms": "1000", "retry-after": "1"},
        )


class LimitSubjectNotFound(NotFound):
    """A limit is about a project, key or model that the tenant does not have."""

    code = "limit_subject_not_found"

    def __init__(self, scope: str, scope_id: str) -> None:
        super().__init__(f"The tenant has no {scope} '{scope_id}'.", param="scope_id")


class TooManyLimits(InvalidRequest):
    """A tenant has limits on as many scopes as one party may set."""

    code = "too_many_limits"

    def __init__(self, limits_max: int) -> None:
        super().__init__(f"Limits are set on {limits_max} scopes of this tenant already; change one of these.")
