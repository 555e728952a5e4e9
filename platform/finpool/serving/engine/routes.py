"""The HTTP routes of an engine replica, for the gateway only."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import Receive, Scope, Send

from finpool.catalogue.model.schemas import service_of
from finpool.kernel.errors import DomainError
from finpool.serving.engine.process_memory import held_bytes
from finpool.serving.engine.routes_guard import TokenGuard
from finpool.serving.engine.work_ahead import Work, WorkAhead
from finpool.serving.errors import EngineFailed, EngineRefused, EngineUnavailable
from finpool.serving.protocols import Engine, RunningGeneration
from finpool.serving.schemas import ADAPTER_FIELD, ENGINE_PATHS, EXPECTED_SERVICE_HEADER, WEIGHTS_HEADER, Operation


def engine_app(engine: Engine, token: bytes, weights_sha256: str, ahead: WorkAhead) -> FastAPI:
    """Return the HTTP app of one engine replica; every path requires `token`, and every stream names the weights.

    `ahead` is updated to the service of the running requests that is expected and not computed yet.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TokenGuard, token=token)

    @app.post(ENGINE_PATHS[Operation.CHAT])
    async def chat_completions(request: Request) -> Response:
        return await _answer(request, engine.generate, weights_sha256, ahead)

    @app.post(ENGINE_PATHS[Operation.COMPLETE])
    async def completions(request: Request) -> Response:
        return await _answer(request, engine.complete, weights_sha256, ahead)

    @app.post(ENGINE_PATHS[Operation.EMBED])
    async def embeddings(request: Request) -> Response:
        return await _answer(request, engine.embed, weights_sha256, ahead)

    @app.post(ENGINE_PATHS[Operation.RERANK])
    async def rerank(request: Request) -> Response:
        return await _answer(request, engine.rerank, weights_sha256, ahead)

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        try:
            body = orjson.loads(await request.body())
            return JSONResponse({"count": await engine.count_input_tokens(body)})
        except DomainError as error:
            return _rendered(error)
        except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, ValueError):
            return _rendered(EngineRefused("The request has no messages and no prompt."))

    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200 if await engine.healthy() else 503)

    @app.get("/usage")
    async def usage() -> Response:
        return JSONResponse(engine.counters.figures())

    @app.get("/memory")
    async def memory() -> Response:
        return JSONResponse({"bytes": await asyncio.to_thread(held_bytes)})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


async def _answer(
    request: Request, start: Callable[[Mapping[str, Any]], RunningGeneration], weights_sha256: str, ahead: WorkAhead
) -> Response:
    """Start the computation and return its stream, or the refusal."""
    try:
        body = orjson.loads(await request.body())
        # An engine accepts only adapters that it has loaded, by the SHA-256 of their content.
        sha256 = body.get(ADAPTER_FIELD) or weights_sha256
        expected = int(request.headers.get(EXPECTED_SERVICE_HEADER, 0))
        return EventStream(start(body), sha256, ahead.begin(expected))
    except DomainError as error:
        return _rendered(error)
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, ValueError):
        return _rendered(EngineRefused("The request is not what this path takes."))


class EventStream(Response):
    """Server-sent events of a generation. The status waits for the first chunk, so that a refusal can be a 400."""

    def __init__(self, generation: RunningGeneration, weights_sha256: str, work: Work) -> None:
        headers = {"cache-control": "no-store", WEIGHTS_HEADER: weights_sha256}
        super().__init__(media_type="text/event-stream", headers=headers)
        del self.headers["content-length"]
        self._generation = generation
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; if the client disconnects, in any phase, abort the generation at once."""
        try:
            async with _cancelled_on_disconnect(receive):
                await self._respond(scope, receive, send)
        finally:
            self._work.end()
            self._generation.abort()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            chunk = await anext(self._generation)
        except DomainError as error:
            await _rendered(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send_chunk(send, chunk)
        try:
            async for chunk in self._generation:
                await self._send_chunk(send, chunk)
        except DomainError as error:
            await _send_event(send, orjson.dumps(_disclosed(error).body()))
        else:
            await _send_event(send, b"[DONE]")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunk(self, send: Send, chunk: dict[str, Any]) -> None:
        if (usage := chunk.get("usage")) is not None:
            self._work.computed(service_of(usage["prompt_tokens"], usage.get("completion_tokens", 0)))
        await _send_event(send, orjson.dumps(chunk))


@asynccontextmanager
async def _cancelled_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client disconnects: during a long prompt no send would fail and reveal it."""
    body = asyncio.current_task()
    disconnected = False

    async def watch() -> None:
        nonlocal disconnected
        while (await receive())["type"] != "http.disconnect":
            pass
        disconnected = True
        if body is not None:
            body.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not disconnected or body is None or body.uncancel() > 0:
            raise
    finally:
        watcher.cancel()


async def _send_event(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})


def _disclosed(error: DomainError) -> DomainError:
    """Return the error for the gateway: a refusal keeps its reason, any other error loses its detail."""
    known = isinstance(error, EngineRefused | EngineUnavailable)
    return error if known else EngineFailed("The model failed to answer.")


def _rendered(error: DomainError) -> Response:
    disclosed = _disclosed(error)
    return JSONResponse(disclosed.body(), status_code=disclosed.status)
