"""The way to a backend over HTTP/1.1, against a server that writes any bytes that a test gives it."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_backend import CHUNKED, HEAD, Answer, backend, sends
from skipping_clock import skip_time
from waiting import until

from finpool.serving.errors import ConnectionBroken
from finpool.serving.transport.connection import BUFFERED_BYTES_MAX, HEAD_BYTES_MAX, HttpCall
from finpool.serving.transport.connections import IDLE_SECONDS_MAX, Connections

SECONDS_MAX = 5.0


async def whole(call: HttpCall) -> tuple[int, str, bytes]:
    status, body = await call.head(SECONDS_MAX), b""
    while part := await call.read(SECONDS_MAX):
        body += part
    return status, call.content_type, body


async def ask(connections: Connections) -> tuple[int, str, bytes]:
    return await whole(await connections.post("/x", b"{}", "req_1", SECONDS_MAX))


async def test_a_request_says_who_asks_and_goes_to_the_path_of_its_address() -> None:
    async with backend(sends(HEAD + b"content-length: 2\r\n\r\nok"), path="/behind/") as (connections, heads, _):
        assert await ask(connections) == (200, "text/event-stream", b"ok")
    lines = heads[0].split(b"\r\n")
    assert lines[0] == b"POST /behind/x HTTP/1.1"
    for line in (b"authorization: Bearer token", b"x-request-id: req_1", b"content-type: application/json"):
        assert line in lines


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.data())
def test_an_answer_is_the_same_however_the_network_cuts_it(parts: list[bytes], data: st.DataObject) -> None:
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    stream = CHUNKED + chunked + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def twice() -> list[tuple[int, str, bytes]]:
        async with backend(sends(*pieces)) as (connections, _, numbers):
            found = [await ask(connections), await ask(connections)]
            assert numbers == [1, 1]
            return found

    assert asyncio.run(twice()) == [(200, "text/event-stream", b"".join(parts))] * 2


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async with backend(sends(HEAD + b"\r\nall of it", closes=True)) as (connections, _, numbers):
        assert (await ask(connections))[2] == b"all of it"
        assert (await ask(connections))[2] == b"all of it"
        assert numbers == [1, 2]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (sends(closes=True), None),
        (sends(b"HTTP/1.1 200", closes=True), None),
        (sends(b"SSH-2.0-x\r\n"), None),
        (sends(b"HTTP/1.1 100 Continue\r\n\r\n"), None),
        (sends(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), None),
        (sends(b"HTTP/1.1 200 OK\r\nx: " + b"x" * (HEAD_BYTES_MAX + 1)), None),
        (sends(HEAD + b"content-length: 9\r\n\r\nhalf", closes=True), 200),
        (sends(CHUNKED + b"4\r\nhalf\r\n", closes=True), 200),
        (sends(CHUNKED + b"4\r\nhalf\r\nzz\r\n"), 200),
        (sends(HEAD + b"content-length: 4\r\n\r\nhalfHTTP/1.1 200 OK\r\n\r\nof another"), 200),
    ],
)
async def test_an_answer_that_is_not_whole_and_alone_is_an_error(answer: Answer, status: int | None) -> None:
    async with backend(answer) as (connections, _, numbers):
        call = await connections.post("/x", b"{}", "req_1", SECONDS_MAX)
        with pytest.raises(ConnectionBroken):
            await whole(call)
        assert call.status == status
        call.close()
        with pytest.raises(ConnectionBroken):
            await ask(connections)
        assert numbers == [1, 2]  # Such a connection is never used again.


async def test_a_connection_that_sends_what_nobody_asked_for_is_not_used_again() -> None:
    answered, left = asyncio.Event(), asyncio.Event()

    async def more_than_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"content-length: 2\r\n\r\nok")
        await answered.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        if await reader.read(1) == b"":
            left.set()

    async with backend(more_than_asked) as (connections, _, numbers):
        assert (await ask(connections))[2] == b"ok"
        answered.set()
        await left.wait()
        answered.clear()
        assert (await ask(connections))[2] == b"ok"
        assert numbers == [1, 2]


@pytest.mark.parametrize(
    "head",
    [
        b"connection: close\r\ncontent-length: 2\r\n\r\n",
        b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\n",
    ],
)
async def test_a_server_that_wants_to_close_is_asked_on_another_connection(head: bytes) -> None:
    end = b"\r\n0\r\n\r\n" if b"chunked" in head else b""
    async with backend(sends(HEAD + head + b"ok" + end)) as (connections, _, numbers):
        assert [(await ask(connections))[2], (await ask(connections))[2]] == [b"ok", b"ok"]
        assert numbers == [1, 2]


async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = skip_time(monkeypatch)
    async with backend(sends(HEAD + b"content-length: 2\r\n\r\nok")) as (connections, _, numbers):
        await ask(connections)
        await ask(connections)
        clock.skip(IDLE_SECONDS_MAX + 1)
        await ask(connections)
        assert numbers == [1, 1, 2]


async def test_an_answer_given_up_tells_the_backend_and_a_whole_one_keeps_its_connection() -> None:
    left = asyncio.Event()

    async def until_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\nhi\r\n")
        if await reader.read(1) == b"":
            left.set()

    async with backend(until_left) as (connections, _, numbers):
        call = await connections.post("/x", b"{}", "req_1", SECONDS_MAX)
        assert await call.read(SECONDS_MAX) == b"hi"
        call.close()
        async with asyncio.timeout(SECONDS_MAX):
            await left.wait()
    given_up = asyncio.Event()

    async def ends_later(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\nhi\r\n")
        await given_up.wait()
        writer.write(b"0\r\n\r\n")

    async with backend(ends_later) as (connections, _, numbers):
        call = await connections.post("/x", b"{}", "req_1", SECONDS_MAX)
        assert await call.read(SECONDS_MAX) == b"hi"
        call.finish()
        given_up.set()
        for _ in range(100):  # The end travels in the loop's own turns.
            await asyncio.sleep(0)
        await ask(connections)
        assert numbers == [1, 1]


async def test_an_end_that_does_not_come_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finpool.serving.transport.connection.FINISH_SECONDS_MAX", 0.05)
    left = asyncio.Event()

    async def until_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\nhi\r\n")
        if await reader.read(1) == b"":
            left.set()

    async with backend(until_left) as (connections, _, numbers):
        for _ in range(2):
            call = await connections.post("/x", b"{}", "req_1", SECONDS_MAX)
            assert await call.read(SECONDS_MAX) == b"hi"
            call.finish()
            async with asyncio.timeout(SECONDS_MAX):
                await left.wait()
            left.clear()
        assert numbers == [1, 2]


async def test_a_slow_reader_holds_up_the_backend_and_loses_nothing() -> None:
    sent = seen = 0

    def stands_still() -> bool:
        nonlocal seen
        before, seen = seen, sent
        return 0 < sent == before

    async def much(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        for _chunk in range(1_000):
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            await writer.drain()
            sent += 10_000
        writer.write(b"0\r\n\r\n")

    async with backend(much) as (connections, _, _):
        call = await connections.post("/x", b"{}", "req_1", SECONDS_MAX)
        await call.head(SECONDS_MAX)
        await until(stands_still, "the backend is held up", pause_seconds=0.1)
        held = len(call.received())
        assert BUFFERED_BYTES_MAX < held < 4 * BUFFERED_BYTES_MAX
        assert sent < 10_000_000
        assert held + len((await whole(call))[2]) == 10_000_000


async def test_an_answer_that_filled_the_buffer_at_its_very_end_leaves_a_connection_that_is_read_from() -> None:
    length = BUFFERED_BYTES_MAX + 1
    filling = HEAD + b"content-length: %d\r\n\r\n" % length + b"x" * length
    async with backend(sends(filling)) as (connections, _, numbers):
        for _ in range(2):
            call = await connections.post("/x", b"{}", "req_1", SECONDS_MAX)
            await until(lambda: call.ended, "the answer ends", seconds_max=SECONDS_MAX)  # noqa: B023
            assert len(call.received()) == length
        assert numbers == [1, 1]


async def test_closing_all_ends_every_exchange() -> None:
    async with backend(sends(CHUNKED)) as (connections, _, _):
        call = await connections.post("/x", b"{}", "req_1", SECONDS_MAX)
        await call.head(SECONDS_MAX)
        connections.close()
        with pytest.raises(ConnectionBroken):
            await call.read(SECONDS_MAX)
