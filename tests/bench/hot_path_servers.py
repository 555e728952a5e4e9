"""The two ends of the measured hot path: an engine that answers at once, and a pass-through that checks nothing."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp
import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pause_file import write_pauses

from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.serving.schemas import WEIGHTS_HEADER

STREAM_CHUNKS = 32
_END_OF_BODY = b"0\r\n\r\n"


def _event(model: str, content: str | None, output_tokens: int) -> bytes:
    """Return one chunk of an HTTP body: one event as engines send it, with the usage so far."""
    finish = "stop" if content is None else None
    choices = [{"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": finish}]
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": output_tokens,
        "total_tokens": 10 + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    return _framed(b"data: " + orjson.dumps({**chunk, "usage": usage}) + b"\n\n")


def _head(model: str) -> bytes:
    """Return the head of a stream, as an engine that serves the weights of the catalogue sends it."""
    weights_sha256 = Catalogue.load(default_directory()).get(model).weights_sha256
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
        + f"{WEIGHTS_HEADER}: {weights_sha256}\r\n\r\n".encode()
    )


def _framed(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


class Engine(asyncio.Protocol):
    """Answers every request on a connection at once: one token, or 32 chunks if `max_tokens` is 32.

    Written on the bare protocol: a web framework here would take the time of the one core it shares with the load.
    """

    def __init__(self, model: str, head: bytes) -> None:
        last = _framed(b"data: [DONE]\n\n") + _END_OF_BODY
        self._head = head
        self._one = head + _event(model, "hi", 1) + _event(model, None, 1) + last
        self._many = [_event(model, "hi ", count) for count in range(1, STREAM_CHUNKS)]
        self._last = _event(model, None, STREAM_CHUNKS) + last
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = body[length:]
        self._answer(
            b'"max_tokens":%d' % STREAM_CHUNKS in body or b'"max_completion_tokens":%d' % STREAM_CHUNKS in body
        )

    def _answer(self, streamed: bool) -> None:
        if not streamed:
            self._transport.write(self._one)
            return
        # Each chunk is a write of its own, as engines send them: asyncio's transport passes it on at once.
        self._transport.write(self._head)
        for chunk in self._many:
            self._transport.write(chunk)
        self._transport.write(self._last)


async def serve_engine(port: int, model: str) -> None:
    """Serve the engine until the process ends."""
    head = _head(model)
    server = await asyncio.get_running_loop().create_server(lambda: Engine(model, head), "127.0.0.1", port)
    await server.serve_forever()


def bare_app(engine_url: str, pauses: Path) -> FastAPI:
    """Return the least that a gateway in this language and framework can do: bytes in, bytes out.

    It writes the pauses of its loop into a file.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        write_pauses(pauses)
        yield

    app = FastAPI(lifespan=lifespan)
    sessions: list[aiohttp.ClientSession] = []

    @app.post("/v1/chat/completions")
    async def pass_through(request: Request) -> StreamingResponse:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        headers = {"content-type": "application/json"}
        answer = await sessions[0].post(engine_url, data=await request.body(), headers=headers)

        async def body() -> AsyncIterator[bytes]:
            async for received in answer.content.iter_any():
                yield received

        return StreamingResponse(body(), media_type="text/event-stream")

    return app


def main() -> None:
    """Serve `engine PORT MODEL` or `bare PORT ENGINE_URL PAUSES_FILE`."""
    kind, port, argument = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if kind == "engine":
        # Not uvloop: it would gather the writes of one turn into one, and a stream of 32 chunks would come in one read.
        asyncio.run(serve_engine(port, argument))
        return
    app = bare_app(argument, Path(sys.argv[4]))
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="error", ws="none")


if __name__ == "__main__":
    main()
