"""The sockets of a door that listens on every address, IPv6 and IPv4."""

import socket

from finpool.kernel.errors import ConfigurationError

EVERY_ADDRESS = "::"


def listening_sockets(host: str, port: int) -> list[socket.socket] | None:
    """Return a bound socket for `::`, or None for any other host, whose sockets the server opens itself.

    The event loop would open `::` for IPv6 alone. On a machine without IPv6 the socket is one for IPv4. Raises
    `ConfigurationError` if the port cannot be bound.
    """
    if host != EVERY_ADDRESS:
        return None
    bound = _of_both_families() or socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host if bound.family == socket.AF_INET6 else "0.0.0.0", port))  # noqa: S104 - it is what `::` means.
    except OSError as error:
        bound.close()
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return [bound]


def _of_both_families() -> socket.socket | None:
    try:
        found = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError:  # The kernel has no IPv6.
        return None
    try:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        found.close()
        return None
    return found
