"""A crowded door: clients that send nothing, take nothing, or come in numbers keep no other client out."""

import asyncio
import functools
import socket

import pytest
from held_door import HeldDoor, closed, held_door, status_of
from waiting import until

CROWD = [f"127.0.1.{number}" for number in range(1, 11)]
KEY, OTHER_KEY = "authorization: Bearer one", "authorization: Bearer two"


async def test_half_open_connections_of_many_addresses_make_room_oldest_first(free_port: int) -> None:
    async with held_door(free_port, connections_max=8) as door:
        crowd = [await door.half_open(CROWD[number % 10]) for number in range(40)]
        assert status_of(await door.ask("/")) == 200
        for reader in crowd[:32]:
            await closed(reader)
        assert not any(reader.at_eof() for reader in crowd[-7:])


async def test_a_door_whose_every_connection_is_answered_refuses_more_but_never_the_health_check(
    free_port: int,
) -> None:
    async with held_door(free_port, connections_max=3) as door, door.holding(3, "127.0.0.1"):
        assert status_of(await door.ask("/")) == 503
        half_open = [await door.half_open(host) for host in CROWD * 5]
        assert status_of(await door.ask("/healthz")) == 200
        await closed(half_open[0])


async def test_an_address_with_too_many_connections_is_refused_and_no_other(free_port: int) -> None:
    async with held_door(free_port, connections_per_address_max=2) as door:
        async with door.holding(2, "127.0.0.2"):
            assert status_of(await door.ask("/", "127.0.0.2")) == 429
            assert status_of(await door.ask("/healthz", "127.0.0.2")) == 200
            assert status_of(await door.ask("/", "127.0.0.3")) == 200
        assert status_of(await door.ask("/", "127.0.0.2")) == 200


async def test_an_address_over_its_bound_displaces_its_own_half_open_connections_only(free_port: int) -> None:
    async with held_door(free_port, connections_per_address_max=2) as door:
        other = await door.half_open("127.0.0.3")
        crowd = [await door.half_open("127.0.0.2") for _ in range(10)]
        for reader in crowd[:8]:
            await closed(reader)
        assert status_of(await door.ask("/", "127.0.0.2")) == 200
        assert not other.at_eof()


async def test_a_key_with_too_many_requests_under_way_is_refused_wherever_they_come_from(free_port: int) -> None:
    async with held_door(free_port, requests_per_key_max=2) as door:
        async with door.holding(1, "127.0.0.1", KEY), door.holding(1, "127.0.0.2", KEY):
            assert status_of(await door.ask("/", "127.0.0.3", KEY)) == 429
            assert status_of(await door.ask("/", "127.0.0.1", OTHER_KEY)) == 200
        assert status_of(await door.ask("/", "127.0.0.3", KEY)) == 200


async def test_a_client_that_leaves_gives_back_the_place_of_its_key(free_port: int) -> None:
    async with held_door(free_port, requests_per_key_max=1) as door:
        asked = asyncio.create_task(door.ask("/held", "127.0.0.1", KEY))
        while not door.held:
            assert status_of(await door.ask("/healthz")) == 200
        asked.cancel()
        while status_of(await door.ask("/", "127.0.0.1", KEY)) != 200:
            pass


async def test_behind_a_trusted_proxy_each_forwarded_address_has_the_bound(free_port: int) -> None:
    by_one, by_another = "x-forwarded-for: 198.51.100.1", "x-forwarded-for: 198.51.100.2"
    claimed = "x-forwarded-for: 203.0.113.9, 198.51.100.1, 127.0.0.5"
    async with held_door(free_port, connections_per_address_max=2, trusted_proxies="127.0.0.0/28") as door:
        async with door.holding(2, "127.0.0.5", by_one):
            assert status_of(await door.ask("/", "127.0.0.5", by_one)) == 429
            assert status_of(await door.ask("/", "127.0.0.5", claimed)) == 429
            assert status_of(await door.ask("/", "127.0.0.5", by_another)) == 200
        assert status_of(await door.ask("/", "127.0.0.5", by_one)) == 200


async def test_a_forwarded_address_is_believed_of_nobody_by_default(free_port: int) -> None:
    async with (
        held_door(free_port, connections_per_address_max=1) as door,
        door.holding(1, "127.0.0.1", "x-forwarded-for: 198.51.100.1"),
    ):
        assert status_of(await door.ask("/", "127.0.0.1", "x-forwarded-for: 198.51.100.2")) == 429
        assert status_of(await door.ask("/", "127.0.0.2", "x-forwarded-for: 198.51.100.1")) == 200


@pytest.mark.parametrize("path", ["/parts", "/large"])
async def test_a_client_that_takes_nothing_of_its_answer_loses_its_place(free_port: int, path: str) -> None:
    async with held_door(free_port, connections_max=1, answer_read_seconds_max=0.2) as door:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", free_port))
            await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
            assert await loop.sock_recv(client, 1)
            assert status_of(await door.ask("/")) == 503
            await until(functools.partial(served, door), "the client kept its place")


async def served(door: HeldDoor) -> bool:
    return status_of(await door.ask("/")) == 200
