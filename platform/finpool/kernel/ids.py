"""Typed identifiers, and the generator of new ones."""

import re
from os import register_at_fork, urandom
from typing import NewType

from finpool.kernel.errors import InvalidRequest

TenantId = NewType("TenantId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
ModelId = NewType("ModelId", str)
RequestId = NewType("RequestId", str)
LeaseId = NewType("LeaseId", str)
ReplicaId = NewType("ReplicaId", str)

SLUG_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""Tenant, project and replica ids: a DNS label, so that they can name Kubernetes objects and file names."""

_SLUG = re.compile(SLUG_PATTERN)
_CLIENT_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_RANDOM_CHARACTERS = 24
_IDS_AT_ONCE = 256
_FIVE_BITS_EACH = bytes(b"abcdefghijklmnopqrstuvwxyz234567"[value % 32] for value in range(256))


class _RandomCharacters:
    """Random characters for many ids at once: drawn and encoded one by one, an id took a fiftieth of a request."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        register_at_fork(after_in_child=self._ids.clear)  # Two processes must not give the same ids.

    def take(self) -> str:
        """Return the characters of one id. Safe in threads: `pop` is atomic."""
        try:
            return self._ids.pop()
        except IndexError:
            drawn = urandom(_RANDOM_CHARACTERS * _IDS_AT_ONCE).translate(_FIVE_BITS_EACH).decode("ascii")
            first, *rest = (drawn[at : at + _RANDOM_CHARACTERS] for at in range(0, len(drawn), _RANDOM_CHARACTERS))
            self._ids += rest
            return first


_random = _RandomCharacters()


def new_id(prefix: str) -> str:
    """Return `prefix` + `_` + 24 random characters (120 bits), unique for all practical purposes."""
    return f"{prefix}_{_random.take()}"


def slug(value: str, *, param: str) -> str:
    """Return `value` if it is a DNS label of at most 63 characters; raise `InvalidRequest` naming `param` if not."""
    if not _SLUG.fullmatch(value):
        raise InvalidRequest(
            f"{param} must be 1 to 63 lower-case letters, digits or hyphens, and start and end with a letter or digit",
            param=param,
        )
    return value


def well_formed_request_id(value: str | None) -> str | None:
    """Return a client's own request id if it is safe to echo and log, else None."""
    return value if value and _CLIENT_REQUEST_ID.fullmatch(value) else None
