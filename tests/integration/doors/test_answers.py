"""Answers on a client's connection: whole heads, honest lengths, and a call at once when the client leaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import served_app
import uvicorn

from finpool.apps.http_limits import http_protocol
from finpool.kernel.door.connection import call_when_left
from finpool.kernel.settings import Settings

PLAIN = [(b"content-type", b"text/plain")]


@asynccontextmanager
async def served(app: Any, port: int) -> AsyncIterator[None]:
    settings = Settings()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, http=http_protocol(settings), lifespan="off", log_config=None
    )
    async with served_app.served(config):
        yield


async def answer_to(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


def request(method: str = "GET", path: str = "/", close: bool = True) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: door\r\nconnection: {'close' if close else 'keep-alive'}\r\n\r\n".encode()
    )


def sends(headers: list[tuple[bytes, bytes]], *parts: bytes, status: int = 200) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_a_head_has_no_body_and_keeps_its_length(free_port: int) -> None:
    async with served(sends([*PLAIN, (b"content-length", b"5")], b"hello"), free_port):
        answer = await answer_to(free_port, request("HEAD"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (body, b"content-length: 5" in head, b"connection: close" in head) == (b"", True, True)


async def test_an_answer_without_a_body_names_no_length_and_no_chunks(free_port: int) -> None:
    async with served(sends([(b"allow", b"GET")], status=204), free_port):
        answer = await answer_to(free_port, request())
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"chunked" not in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\x00b", b"a\x7fb"])
async def test_a_header_with_a_control_character_is_never_sent(free_port: int, value: bytes) -> None:
    async with served(sends([(b"x-note", value)], b"hello"), free_port):
        answer = await answer_to(free_port, request())
    assert b"set-cookie" not in answer
    assert b"x-note" not in answer


@pytest.mark.parametrize("parts", [(b"hell",), (b"hello", b"!")])
async def test_a_body_of_another_length_ends_the_connection(free_port: int, parts: tuple[bytes, ...]) -> None:
    async with served(sends([(b"content-length", b"5")], *parts), free_port):
        answer = await answer_to(free_port, request(close=False))
    assert answer.partition(b"\r\n\r\n")[2] in (b"hell", b"hello")


@pytest.mark.parametrize("behind", [0, 1])
async def test_the_app_hears_at_once_of_a_client_that_leaves(free_port: int, behind: int) -> None:
    """Also with another request behind the one that is being answered."""
    begun, left = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        call_when_left(scope, receive, left.set)
        begun.set()
        await left.wait()

    async with served(app, free_port), asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(request(close=False) * (1 + behind))
        await begun.wait()
        writer.transport.abort()
        await left.wait()


async def test_no_app_is_called_after_its_answer(free_port: int) -> None:
    left: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        stop = call_when_left(scope, receive, lambda: left.append(scope["path"]))
        await sends(PLAIN, b"hello")(scope, receive, send)
        stop()

    async with served(app, free_port):
        answer = await answer_to(free_port, request(path="/one", close=False) + request(path="/two"))
        assert answer.count(b"hello") == 2
    assert left == []
