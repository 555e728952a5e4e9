"""What HAProxy closes without a word, because its own connection to an engine was gone, is sent once more."""

from typing import Any

import pytest
from aiohttp import web
from scripted_engine import LAST, USED, FakeEngine, event, streamed

from finpool.catalogue.schemas import Model
from finpool.kernel.ids import RequestId
from finpool.serving.errors import EngineFailed
from finpool.serving.schemas import Operation
from finpool.serving.service import Backends


async def ask(backends: Backends, model: Model) -> list[Any]:
    stream = await backends.ask(Operation.CHAT, model, {"messages": []}, RequestId("req_1"))
    try:
        await stream.begun()
        return [chunks async for chunks in stream]
    finally:
        stream.close()


async def closed(request: web.Request) -> web.StreamResponse:
    """Answer as HAProxy does that finds its own kept connection to an engine closed: not at all."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def test_a_request_that_nobody_took_on_a_kept_connection_is_sent_once_more_on_a_new_one(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    whole = streamed(event(LAST), b"data: [DONE]\n\n")
    answers = [whole, closed, whole]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    engine.answer = answer
    for _ in range(2):
        assert (await ask(backends, model))[-1].usage == USED
    assert (len(engine.bodies), len(engine.connections), answers) == (3, 2, [])


async def test_a_request_that_nobody_took_is_not_sent_a_third_time_nor_again_on_a_new_connection(
    backends: Backends, engine: FakeEngine, model: Model
) -> None:
    engine.answer = closed
    with pytest.raises(EngineFailed):
        await ask(backends, model)
    assert len(engine.bodies) == 1
    engine.answer = streamed(event(LAST), b"data: [DONE]\n\n")
    await ask(backends, model)
    engine.answer, engine.bodies = closed, []
    with pytest.raises(EngineFailed):
        await ask(backends, model)
    assert len(engine.bodies) == 2
