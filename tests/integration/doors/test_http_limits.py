"""The cost of a stranger's connection for a door: bytes of a head, and time to arrive."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import served_app
import uvicorn

from finpool.apps.http_limits import http_protocol
from finpool.kernel.settings import Settings

HEAD = b"GET / HTTP/1.1\r\nhost: door\r\n"
POST = b"POST / HTTP/1.1\r\nhost: door\r\n"
SLOW_SECONDS = 0.3


async def answer_at_length(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and answer with its length; `/slow` takes longer than a request may take to arrive."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * SLOW_SECONDS)
    await send({"type": "http.response.body", "body": f"{length:08}".encode()})


@asynccontextmanager
async def served(port: int, **limits: Any) -> AsyncIterator[None]:
    settings = Settings(**limits)
    config = uvicorn.Config(
        answer_at_length,
        host="127.0.0.1",
        port=port,
        http=http_protocol(settings),
        lifespan="off",
        log_config=None,
        timeout_keep_alive=settings.keep_alive_seconds,
    )
    async with served_app.served(config):
        yield


async def conversation(port: int, *parts: bytes) -> bytes:
    """Send the parts, as far as the door takes them, and return all that comes back until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert b"connection: close" in head
    return int(head.split()[1]), error["code"]


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"x: " + b"a" * 5000 + b"\r\n\r\n",
        HEAD + b"".join(b"x-%d: a\r\n" % n for n in range(500)) + b"\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nhost: door\r\n\r\n",
        HEAD + b"x: " + b"a" * 5000,
    ],
)
async def test_a_head_over_the_limit_is_a_431(free_port: int, head: bytes) -> None:
    async with served(free_port, head_bytes_max=4096):
        assert refusal(await conversation(free_port, head)) == (431, "request_head_too_large")


async def test_what_follows_a_body_is_bounded_like_a_head(free_port: int) -> None:
    trailers = POST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: " + b"a" * 5000
    async with served(free_port, head_bytes_max=4096):
        assert refusal(await conversation(free_port, trailers)) == (431, "request_head_too_large")


async def test_a_body_is_not_taken_for_a_head(free_port: int) -> None:
    closing = POST + b"connection: close\r\n"
    chunks = closing + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n"
    whole = closing + b"content-length: 50000\r\n\r\n" + b"a" * 50_000
    async with served(free_port, head_bytes_max=4096):
        assert (await conversation(free_port, chunks)).endswith(b"00005000")
        assert (await conversation(free_port, whole)).endswith(b"00050000")


@pytest.mark.parametrize("part", [b"", b"\r\n", HEAD, HEAD + b"x: a", POST + b"content-length: 9\r\n\r\na"], ids=repr)
async def test_a_request_that_does_not_arrive_is_given_up(free_port: int, part: bytes) -> None:
    async with served(free_port, request_arrival_seconds_max=SLOW_SECONDS):
        assert refusal(await conversation(free_port, part)) == (408, "request_timeout")


async def trickle(writer: asyncio.StreamWriter) -> None:
    for _ in range(1000):
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_trickle_does_not_extend_the_deadline(free_port: int) -> None:
    async with served(free_port, request_arrival_seconds_max=SLOW_SECONDS):
        _, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(HEAD + b"x: ")
        with pytest.raises(ConnectionError):
            await trickle(writer)
        writer.close()


@pytest.mark.parametrize("after", [b"", b"\r\n"])
async def test_an_answer_may_take_longer_than_a_request(free_port: int, after: bytes) -> None:
    request = HEAD.replace(b"/ ", b"/slow ", 1) + b"connection: close\r\n\r\n"
    async with served(free_port, request_arrival_seconds_max=SLOW_SECONDS):
        assert (await conversation(free_port, request, after)).endswith(b"00000000")


async def test_what_is_no_http_is_a_400_in_the_one_shape(free_port: int) -> None:
    async with served(free_port):
        assert refusal(await conversation(free_port, b"\x16\x03\x01 hello\r\n\r\n")) == (400, "invalid_request")


async def test_requests_on_one_connection_follow_each_other(free_port: int, count: Callable[[bytes], int]) -> None:
    async with served(free_port, head_bytes_max=4096):
        last = HEAD + b"connection: close\r\n\r\n"
        answer = await conversation(free_port, (HEAD + b"x: " + b"a" * 3000 + b"\r\n\r\n") * 5 + last)
    assert count(answer) == 6


@pytest.fixture
def count() -> Callable[[bytes], int]:
    """Count answers."""
    return lambda answer: answer.count(b" 200 ")
