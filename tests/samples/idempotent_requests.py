"""Chats with an `Idempotency-Key`, read byte for byte."""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
from served_bank import ServedBank
from waiting import until

MODEL = "smollm2-135m-instruct"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


@dataclass
class Answer:
    """One answer as its client got it."""

    status: int
    body: bytes
    headers: CIMultiDictProxy[str]

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


async def chat(client: AsyncOpenAI, **options: Any) -> ChatCompletion:
    answer: ChatCompletion = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=5, **options
    )
    return answer


async def ask(
    door: Any, key: str, idempotency_key: str, *, raw: bytes | None = None, total_seconds: float = 60, **fields: Any
) -> Answer:
    """Ask for one chat; `raw` is the whole body instead."""
    headers = {
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "idempotency-key": idempotency_key,
    }
    data = raw or json.dumps({**CHAT, **fields}).encode()
    timeout = aiohttp.ClientTimeout(total=total_seconds)
    url = f"{door.url}/v1/chat/completions"
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=data, headers=headers) as response,
    ):
        return Answer(response.status, await response.read(), response.headers)


async def answers(door: Any, key: str, idempotency_key: str) -> bytes:
    """Ask again while the first request runs, as the official clients do; returns the answer's body."""

    async def answer() -> Answer | None:
        found = await ask(door, key, idempotency_key)
        assert found.status in (200, 409), found.body
        return found if found.status == 200 else None

    return (await until(answer, "the answer is there")).body


async def stream_bytes(door: ServedBank, key: str, idempotency_key: str, *, leave_after: int) -> bytes:
    """Ask for a stream and leave after so many of its parts; returns those bytes."""
    headers = {"authorization": f"Bearer {key}", "idempotency-key": idempotency_key}
    read = b""
    url, body = f"{door.url}/v1/chat/completions", {**CHAT, "stream": True}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        for _ in range(leave_after):
            read += await response.content.readuntil(b"\n\n")
        response.close()
    return read


def event_error(body: bytes) -> dict[str, Any] | None:
    """Return the error event of a stream, if it has one."""
    events = [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]
    errors = [json.loads(event).get("error") for event in events if event != "[DONE]"]
    return next((each for each in errors if each is not None), None)
