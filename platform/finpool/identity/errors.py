"""What can be wrong with a credential, or with asking for a key."""

from finpool.kernel.errors import Forbidden, NotFound, Unauthenticated


class CredentialUnknown(Unauthenticated):
    """Missing, malformed, unknown or revoked: the caller is never told which."""

    def __init__(self) -> None:
        super().__init__("Incorrect API key provided.")


class TenantSuspended(Forbidden):
    """The key is good, the tenant is suspended; told only to the holder of a good key."""

    code = "tenant_suspended"

    def __init__(self) -> None:
        super().__init__("This tenant is suspended; ask the operator of the platform.")


class KeyNotFound(NotFound):
    """No such key in this tenant; a key of another tenant reads the same."""

    code = "key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key '{key_id}' does not exist in this tenant.", param="key_id")


class TokenNotFound(NotFound):
    """No such operator's or regulator's token."""

    code = "token_not_found"

    def __init__(self, token_id: str) -> None:
        super().__init__(f"The token '{token_id}' does not exist.", param="token_id")
