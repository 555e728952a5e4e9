"""A recording gives every message to its reader, and refuses an answer that is too large to be kept."""

import asyncio

import pytest

from finpool.gateway.errors import IdempotentAnswerTooLarge
from finpool.gateway.idempotency.recording import Recording


def part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def test_a_reader_that_comes_late_or_early_gets_every_message() -> None:
    recording = Recording(100)
    await recording.send({"type": "http.response.start"})
    await recording.send(part(b"one"))
    reading = asyncio.create_task(_read(recording))
    await recording.send(part(b"two"))
    recording.end()
    assert await reading == b"onetwo"
    assert recording.body == b"onetwo"


async def test_an_answer_that_outgrows_its_bound_is_refused_once_so_that_its_error_gets_through() -> None:
    recording = Recording(3)
    await recording.send(part(b"one"))
    with pytest.raises(IdempotentAnswerTooLarge):
        await recording.send(part(b"t"))
    await recording.send(part(b"error"))
    recording.end()
    assert await _read(recording) == b"oneerror"


async def _read(recording: Recording) -> bytes:
    return b"".join([message.get("body", b"") async for message in recording.messages()])
