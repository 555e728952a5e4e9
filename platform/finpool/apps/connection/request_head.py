"""The parts of a request's head that the HTTP server itself judges, before a route is looked up."""

import re
from collections.abc import Iterable, Sequence

HIDDEN = re.compile(rb"%(?:2[ef]|5c|[01][0-9a-f]|7f)", re.IGNORECASE)
"""An encoded slash, dot, backslash or control character. A proxy in front may read it in another way."""

_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_FRAGMENT = b"#"


def fault_of(url: bytes, http_version: str, hosts: Sequence[bytes]) -> str | None:
    """Return the fault of a head that RFC 9112 forbids and the parser lets through, or None.

    Several `Host` headers of a kind are left to the ingress, whose refusal names the header.
    """
    if http_version not in ("1.1", "1.0"):
        return "The HTTP version must be 1.0 or 1.1."
    if not hosts and http_version == "1.1":
        return "The header 'host' is missing."
    if not all(map(_HOST.fullmatch, hosts)):
        return "The header 'host' is not a host."
    if _FRAGMENT in url:
        return "The request's target must not have a fragment."
    return None


def origin_of(headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[bytes], bytes, bytes]:
    """Return the hosts, the credential, and the client addresses that proxies name, from lower-case headers."""
    hosts = []
    credential = forwarded = b""
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"authorization":
            credential = value
        elif name == b"x-forwarded-for":
            forwarded = b"%b,%b" % (forwarded, value)
    return hosts, credential, forwarded
