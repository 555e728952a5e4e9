"""Errors of credentials and of requests for keys."""

from finpool.kernel.errors import Forbidden, NotFound, Unauthenticated


class CredentialUnknown(Unauthenticated):
    """The credential is malformed, unknown, revoked or of another door; the caller does not learn which."""

    def __init__(self) -> None:
        super().__init__("Incorrect API key provided: it is unknown at this door or revoked.", fault="invalid_token")


class TenantSuspended(Forbidden):
    """The key is valid, but its tenant is suspended; only the holder of a valid key gets this error."""

    code = "tenant_suspended"

    def __init__(self) -> None:
        super().__init__("This tenant is suspended; ask the operator of the platform.")


class KeyNotFound(NotFound):
    """The tenant has no such key; a key of another tenant gives the same error."""

    code = "key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key '{key_id}' does not exist in this tenant.", param="key_id")


class TokenNotFound(NotFound):
    """No such operator's or regulator's token exists."""

    code = "token_not_found"

    def __init__(self, token_id: str) -> None:
        super().__init__(f"The token '{token_id}' does not exist.", param="token_id")
