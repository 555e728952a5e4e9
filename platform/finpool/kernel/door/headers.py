"""The headers that decide about a request, as the ingress has read them: credential, organization and content type."""

import re

from finpool.kernel.actor import Actor
from finpool.kernel.answer_headers import ACCEPT_ENCODING
from finpool.kernel.door.ingress import Message
from finpool.kernel.errors import (
    CredentialMissing,
    MismatchedOrganization,
    UnsupportedContentEncoding,
    UnsupportedContentType,
)

_JSON = "application/json"
_CHARSET = re.compile(r"""(?i)charset\s*=\s*["']?([^\s"';]{1,64})""")
_CHARSETS_WITHIN_UTF_8 = {"utf-8", "utf8", "us-ascii", "ascii"}
_SHOWN_LENGTH_MAX = 64


def bearer(scope: Message) -> str:
    """Return the bearer credential; raise `CredentialMissing` without one."""
    given = decisive_header(scope, b"authorization")
    if not given:
        raise CredentialMissing("No API key provided: send it in the header 'Authorization: Bearer YOUR_KEY'.")
    scheme, _, credential = given.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise CredentialMissing("The Authorization header holds no API key: write 'Authorization: Bearer YOUR_KEY'.")
    return credential.strip()


def decisive_header(scope: Message, name: bytes) -> str:
    """Return a header that the ingress has read, empty without it."""
    given: bytes | None = scope["state"]["headers"].get(name)
    return "" if given is None else given.decode("latin-1")


def idempotency_key(scope: Message) -> str | None:
    """Return the request's `Idempotency-Key`, which may be empty, or None without one."""
    given: bytes | None = scope["state"]["headers"].get(b"idempotency-key")
    return None if given is None else given.decode("latin-1")


def require_json(scope: Message) -> None:
    """Raise `UnsupportedContentEncoding` or `UnsupportedContentType` unless the body is declared as plain JSON."""
    encoding = decisive_header(scope, b"content-encoding").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedContentEncoding(
            f"The body is encoded as '{encoding[:_SHOWN_LENGTH_MAX]}', which this API does not read; send it as it is.",
            param="content-encoding",
            headers={ACCEPT_ENCODING: "identity"},
        )
    declared = decisive_header(scope, b"content-type")
    if declared == _JSON:
        return
    media_type, _, parameters = declared.partition(";")
    if media_type.strip().lower() != _JSON:
        given = f"not {media_type.strip()[:_SHOWN_LENGTH_MAX]}" if media_type.strip() else "but the header is missing"
        raise UnsupportedContentType(f"The content type must be {_JSON}, {given}.", param="content-type")
    charset = _CHARSET.search(parameters)
    if charset is not None and charset[1].lower() not in _CHARSETS_WITHIN_UTF_8:
        raise UnsupportedContentType(f"The charset must be utf-8, not {charset[1]}.", param="content-type")


def require_own_organization(scope: Message, actor: Actor) -> None:
    """Refuse OpenAI headers that name another tenant or project: ignoring them would mislead the client.

    An empty header names none: clients send it for a setting that is not set.
    """
    for header, own in ((b"openai-organization", actor.tenant_id), (b"openai-project", actor.project_id)):
        named = decisive_header(scope, header)
        if named and own is not None and named != own:
            name = header.decode("ascii")
            raise MismatchedOrganization(f"The header {name} does not match the key.", param=name)
