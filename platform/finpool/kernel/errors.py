"""Errors of the API: a code, an HTTP status and one clear message each."""

import inspect
from collections.abc import Mapping
from typing import ClassVar

from finpool.kernel.answer_headers import ACCEPT_ENCODING, CHALLENGE, RETRY_AFTER, SHOULD_RETRY, retry_after


class DomainError(Exception):
    """Base of every error that a client receives.

    `status` is the HTTP status, `code` the stable machine-readable name, and `type` OpenAI's error type. `param` names
    the wrong field, or is None. `headers` are added to the response (for example `retry-after-ms`); `header_names` are
    all that an error of the class may carry, for the API document. Subclasses live in the `errors.py` of their domain.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    header_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error in OpenAI's shape; all four keys are always present."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Return the codes of this error, each with its sentence for the API document."""
        return {cls.code: " ".join((inspect.getdoc(cls) or "").split()).partition(". ")[0].removesuffix(".") + "."}


class InternalError(DomainError):
    """The platform failed to answer; its log has the reason."""


class InvalidRequest(DomainError):
    """The request is malformed or a value is out of range."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class UnknownQueryParameter(InvalidRequest):
    """The route does not know this query parameter; it refuses the request rather than ignore it."""

    code = "unknown_parameter"


class UnsupportedQueryParameter(InvalidRequest):
    """OpenAI knows this query parameter, but the platform cannot answer it; the message says why."""

    code = "unsupported_parameter"


class RepeatedQueryParameter(InvalidRequest):
    """A query parameter that is no list is given more than once."""

    code = "repeated_parameter"


class RepeatedHeader(InvalidRequest):
    """A header that decides about the request is given more than once, so its meaning is open."""

    code = "repeated_header"


class IdempotencyUnsupported(InvalidRequest):
    """The route does not serve an `Idempotency-Key`; it refuses the request rather than ignore the key."""

    code = "idempotency_unsupported"

    def __init__(self) -> None:
        super().__init__(
            "This route does not serve an Idempotency-Key. Send the request without it.", param="idempotency-key"
        )


class UnsupportedContentType(InvalidRequest):
    """The body is not declared as JSON in UTF-8."""

    status = 415
    code = "unsupported_content_type"


class UnsupportedContentEncoding(InvalidRequest):
    """The body is compressed, which no door reads; send it as it is."""

    status = 415
    code = "unsupported_content_encoding"
    header_names = (ACCEPT_ENCODING,)


class BodyTooLarge(InvalidRequest):
    """The body is larger than the limit."""

    status = 413
    code = "request_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The body is larger than {bytes_max} bytes.")


class HeadersTooLarge(InvalidRequest):
    """The request line and the headers together are larger than the limit."""

    status = 431
    code = "request_head_too_large"


class RequestTooSlow(InvalidRequest):
    """The request did not arrive within its deadline."""

    status = 408
    code = "request_timeout"


class TooManyConnections(DomainError):
    """The address has too many connections open, or the key too many requests under way at this door."""

    status = 429
    code = "too_many_connections"
    type = "rate_limit_error"


class Unauthenticated(DomainError):
    """The request carries no credential, or an unknown one.

    The answer names the scheme to authenticate with, as RFC 6750 says. `fault` is that RFC's error code; a request
    without a credential has none.
    """

    status = 401
    code = "invalid_api_key"
    type = "invalid_request_error"
    header_names = (CHALLENGE,)

    def __init__(self, message: str, *, fault: str | None = None) -> None:
        challenge = 'Bearer realm="finpool"' + (f', error="{fault}"' if fault else "")
        super().__init__(message, headers={CHALLENGE: challenge})


class CredentialMissing(Unauthenticated):
    """The request carries no credential."""


class Forbidden(DomainError):
    """The actor is authenticated, but its role lacks the permission."""

    status = 403
    code = "permission_denied"
    type = "invalid_request_error"


class MismatchedOrganization(Forbidden):
    """An OpenAI header names another organization or project than the one of the key."""

    code = "mismatched_organization"


class NotFound(DomainError):
    """The object does not exist, or the actor must not learn that it exists."""

    status = 404
    code = "not_found"
    type = "invalid_request_error"


class RouteNotFound(NotFound):
    """No route has this path."""

    code = "unknown_url"


class MethodNotAllowed(DomainError):
    """The path exists, but not with this method."""

    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"


class AlreadyExists(DomainError):
    """The identifier is taken. The status is 400, because OpenAI's clients retry a 409."""

    status = 400
    code = "already_exists"
    type = "invalid_request_error"


class Unavailable(DomainError):
    """A dependency that a correct answer needs is down, so the request is refused."""

    status = 503
    code = "unavailable"
    type = "server_error"


class TooManyAtOnce(DomainError):
    """The caller has too many requests, or documents, in progress and waiting; a retry may succeed."""

    status = 429
    code = "too_many_at_once"
    type = "rate_limit_error"
    header_names = RETRY_AFTER

    def __init__(self, of: str, why: str, retry_seconds: int) -> None:
        super().__init__(
            f"Too many {of} of one caller at once: {why}. Wait until one is answered, then send this request again.",
            headers=retry_after(retry_seconds * 1000),
        )


class QueryTooLong(DomainError):
    """The database ended the request's query at its time limit, so nothing was done; a narrower request may succeed."""

    status = 504
    code = "query_too_long"
    type = "server_error"
    header_names = (SHOULD_RETRY,)

    def __init__(self) -> None:
        super().__init__(
            "The database ended this query at its time limit, and nothing was done. Ask for less: a shorter time"
            " range, a smaller page, or fewer groups.",
            headers={SHOULD_RETRY: "false"},
        )


class ConfigurationError(Exception):
    """The process cannot start with its settings; the message names the setting to change."""
