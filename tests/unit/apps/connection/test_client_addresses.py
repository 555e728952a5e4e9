"""The address that a connection or a request is counted under."""

import pytest

from finpool.apps.connection.client_addresses import TrustedProxies, block_of

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/48"])


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_a_host_is_one_address_and_with_ipv6_its_whole_block(one: str, another: str, same: bool) -> None:
    assert (block_of(one) == block_of(another)) is same


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1, 10.1.2.3", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::/64"),
        ("10.0.0.1, 10.0.0.2", None),
        ("203.0.113.9, unknown", None),
        ("", None),
    ],
)
def test_the_last_address_that_is_no_trusted_proxys_is_the_clients(forwarded: str, client: str | None) -> None:
    assert PROXIES.client_of(forwarded.encode()) == client


def test_nobody_is_a_trusted_proxy_by_default() -> None:
    assert not TrustedProxies(()).include("10.0.0.1")
    assert PROXIES.include("10.0.0.1")
    assert PROXIES.include("::ffff:10.0.0.1")
    assert PROXIES.include("2001:db8:1::5")
    assert not PROXIES.include("192.0.2.1")
    assert not PROXIES.include("")
