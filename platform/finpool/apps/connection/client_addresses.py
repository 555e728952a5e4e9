"""The address that a connection or a request is counted under, and the proxies that may name another."""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPV6_BLOCK_BITS = 64
"""A host with IPv6 has a block of this prefix to itself, so the block counts as one address."""

_REMEMBERED_MAX = 4096


@lru_cache(_REMEMBERED_MAX)
def block_of(host: str) -> str:
    """Return the name that an address is counted under; a text that is no address, as of a Unix socket, is its own."""
    address = _address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_BLOCK_BITS), strict=False))
    return host if address is None else str(address)


class TrustedProxies:
    """The networks of proxies whose `X-Forwarded-For` is believed; by default there are none."""

    def __init__(self, networks: Collection[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(each) for each in networks]

    def include(self, host: str) -> bool:
        """Tell whether an address belongs to a trusted proxy."""
        if not self._networks:
            return False
        address = _address(host)
        return address is not None and any(address in each for each in self._networks)

    def client_of(self, forwarded: bytes) -> str | None:
        """Return the last address in `X-Forwarded-For` that is no trusted proxy's, or None without one.

        Each proxy appends the address that it saw. Those before the last stranger were written by that stranger.
        """
        for each in reversed(forwarded.decode("latin-1").split(",")):
            host = _without_port(each.strip())
            if not self.include(host):
                return block_of(host) if _address(host) is not None else None
        return None


def _without_port(written: str) -> str:
    """Return the address of `1.2.3.4:5` or `[::1]:5`, as some proxies write it."""
    if written.startswith("["):
        return written[1:].partition("]")[0]
    return written.partition(":")[0] if written.count(":") == 1 else written


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
