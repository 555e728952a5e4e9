"""Errors that a caller sees: a code, an HTTP status and one clear message."""

from collections.abc import Mapping
from typing import ClassVar


class DomainError(Exception):
    """Base of every error that leaves the platform.

    `status` is the HTTP status, `code` the stable machine-readable name, `type` OpenAI's family of errors, and
    `param` the offending field, if one. `headers` are added to the response (for example `retry-after-ms`).
    Subclasses live in the `errors.py` of their domain.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error in OpenAI's shape; all four keys are always present."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InvalidRequest(DomainError):
    """The request cannot be understood or is out of range."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class BodyTooLarge(InvalidRequest):
    """The body is over the limit."""

    status = 413
    code = "request_too_large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The body is larger than {bytes_max} bytes.")


class Unauthenticated(DomainError):
    """No credential, or one that is not known."""

    status = 401
    code = "invalid_api_key"
    type = "invalid_request_error"


class Forbidden(DomainError):
    """The actor is known and may not do this."""

    status = 403
    code = "permission_denied"
    type = "invalid_request_error"


class NotFound(DomainError):
    """The thing does not exist, or the actor may not know that it does."""

    status = 404
    code = "not_found"
    type = "invalid_request_error"


class AlreadyExists(DomainError):
    """The identifier is taken. Clients retry 409, so an ordinary conflict is a 400."""

    status = 400
    code = "already_exists"
    type = "invalid_request_error"


class Unavailable(DomainError):
    """Something that is needed to answer correctly is down: refuse rather than guess."""

    status = 503
    code = "unavailable"
    type = "server_error"


class ConfigurationError(Exception):
    """The process cannot start with the settings it was given; the message says what to change."""
