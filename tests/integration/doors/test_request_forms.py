"""Forms of a request that two servers could read in two ways: each is refused, or names no route."""

import json
from collections.abc import AsyncIterator

import pytest
from held_door import HeldDoor, held_door, status_of

CLOSING = "connection: close\r\n\r\n"


@pytest.fixture
async def door(free_port: int) -> AsyncIterator[HeldDoor]:
    """Serve a door whose answer is the path that its app would route."""
    async with held_door(free_port) as door:
        yield door


async def sent(door: HeldDoor, request: str) -> bytes:
    reader, writer = await door.connect()
    writer.write(request.encode("latin-1"))
    return await reader.read()


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n",
        "GET / HTTP/1.1\r\nhost: a@b\r\n",
        "GET /#fragment HTTP/1.1\r\nhost: a\r\n",
        "GET /\r\nhost: a\r\n",
        "GET / HTTP/1.2\r\nhost: a\r\n",
        "GET / HTTP/2.0\r\nhost: a\r\n",
        "PRI * HTTP/2.0\r\nhost: a\r\n",
        "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n",
        "GET v1/models HTTP/1.1\r\nhost: a\r\n",
        "GET /\xe4 HTTP/1.1\r\nhost: a\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nhost: a\r\n",
    ],
)
async def test_a_head_that_the_standard_forbids_is_a_400(door: HeldDoor, head: str) -> None:
    answer = await sent(door, head + CLOSING)
    assert status_of(answer) == 400
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    "fields",
    [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: 3\r\ncontent-length: 3\r\n",
        "content-length: 3, 3\r\n",
        "content-length: +3\r\n",
        "content-length: 0x3\r\n",
        "content-length : 3\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding:\x0bchunked\r\n",
        "x: a\r\n folded: b\r\n",
        "x: a\nb: c\r\n",
        "x: a\rb: c\r\n",
        "x: a\x00b\r\n",
    ],
    ids=repr,
)
async def test_a_body_whose_end_could_be_read_in_two_ways_is_a_400(door: HeldDoor, fields: str) -> None:
    assert status_of(await sent(door, f"POST / HTTP/1.1\r\nhost: a\r\n{fields}{CLOSING}abc")) == 400


@pytest.mark.parametrize(
    "path",
    [
        "/v1%2fmodels",
        "/v1%2Fmodels",
        "/v1%5cmodels",
        "/v1/%2e%2e/models",
        "/v1/.%2E/models",
        "/v1/models/%00",
        "/v1/models%0d%0a",
        "/v1/models%7f",
        "//v1/models",
        "/v1//models",
        "/v1/./models",
        "/v1/x/../models",
    ],
)
async def test_a_path_that_could_be_read_in_two_ways_reaches_the_app_as_it_was_sent(door: HeldDoor, path: str) -> None:
    answer = await door.ask(path)
    assert (status_of(answer), answer.partition(b"\r\n\r\n")[2]) == (200, path.encode())


async def test_other_encoded_characters_of_a_path_are_decoded(door: HeldDoor) -> None:
    answer = await door.ask("/v1/m%6fdels/a%20b?x=%2f")
    assert answer.partition(b"\r\n\r\n")[2] == b"/v1/models/a b"


async def test_http_1_0_needs_no_host(door: HeldDoor) -> None:
    assert status_of(await sent(door, "GET / HTTP/1.0\r\n\r\n")) == 200
