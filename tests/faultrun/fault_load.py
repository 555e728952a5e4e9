"""Clients of the banks, and their own notes: every whole answer, every refusal, every token they saw."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from openai.types.chat import ChatCompletionMessageParam
from truth_engine import MODEL

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
CALL_SECONDS_MAX = 40.0
PAUSE_AFTER_REFUSAL_SECONDS = 0.1
USUAL_CALLS = {"plain": 3.0, "streamed": 5.0, "aborted": 2.0, "impatient": 1.0, "repeated": 2.0}
ASKED_MAX = 5


@dataclass
class Seen:
    """One request as its client saw it. `tokens_at`: the time at which each output token had arrived.

    `left` tells that the client went away in the middle of the answer.
    """

    tenant_id: str
    status: int
    usage: tuple[int, int, int] | None = None
    tokens_at: list[float] = field(default_factory=list)
    lost_at: float | None = None
    left: bool = False


@dataclass(eq=False)
class Repeated:
    """One request with an idempotency key: its attempts that got an id, and each whole answer that they got."""

    tenant_id: str
    key: str
    body: dict[str, Any]
    attempts: set[str] = field(default_factory=set)
    answers: list[bytes] = field(default_factory=list)
    replays: int = 0


@dataclass
class Told:
    """What all clients saw, by request id; `unanswered` are the calls of which nothing came back, not even an id."""

    requests: dict[str, Seen] = field(default_factory=dict)
    repeated: list[Repeated] = field(default_factory=list)
    unanswered: int = 0

    def whole(self) -> dict[str, Seen]:
        """Return the requests whose answers arrived whole: these are acknowledged."""
        return {request_id: seen for request_id, seen in self.requests.items() if seen.usage is not None}


class Caller:
    """One client of one tenant that calls one replica after the other."""

    def __init__(self, told: Told, tenant_id: str, key: str, ports: list[int], chance: random.Random) -> None:
        self._told = told
        self._tenant_id = tenant_id
        self._headers = {"authorization": f"Bearer {key}"}
        self._ports = ports
        self._chance = chance
        self._asked: list[Repeated] = []

    async def call_until(self, stop: asyncio.Event, calls: dict[str, float] | None = None) -> None:
        """Call until told to stop."""
        calls = calls or USUAL_CALLS
        async with ClientSession(headers=self._headers, timeout=ClientTimeout(total=CALL_SECONDS_MAX)) as session:
            while not stop.is_set():
                kind = self._chance.choices(list(calls), list(calls.values()))[0]
                served = await (self.repeat(session) if kind == "repeated" else self.call(session, kind))
                if not served:
                    await asyncio.sleep(PAUSE_AFTER_REFUSAL_SECONDS)

    async def call(self, session: ClientSession, kind: str) -> bool:
        """Make one call; returns whether it was served."""
        body: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": self._chance.randint(20, 80)}
        if kind != "plain":
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        url = f"http://127.0.0.1:{self._chance.choice(self._ports)}/v1/chat/completions"
        seen: Seen | None = None
        try:
            async with asyncio.timeout(0.15 if kind == "impatient" else CALL_SECONDS_MAX):
                async with session.post(url, json=body) as response:
                    seen = self._told.requests[response.headers["x-request-id"]] = Seen(
                        self._tenant_id, response.status
                    )
                    await self._read(response, kind, seen)
                    return response.status == 200
        except (ClientError, TimeoutError, OSError):
            if seen is None:
                self._told.unanswered += 1
            else:
                seen.lost_at = time.monotonic()
            return False

    async def repeat(self, session: ClientSession) -> bool:
        """Ask something new with an idempotency key, or repeat what has not been answered whole twice."""
        if (len(self._asked) < ASKED_MAX and self._chance.random() < 0.5) or not self._asked:
            self._asked.append(self._new_request())
        asked = self._asked[self._chance.randrange(len(self._asked))]
        url = f"http://127.0.0.1:{self._chance.choice(self._ports)}/v1/chat/completions"
        headers, answers = {"idempotency-key": asked.key}, len(asked.answers)
        try:
            async with (
                asyncio.timeout(0.1 if self._chance.random() < 0.3 else CALL_SECONDS_MAX),
                session.post(url, json=asked.body, headers=headers) as response,
            ):
                await self._note(response, asked)
        except (ClientError, TimeoutError, OSError):
            self._told.unanswered += 1
        if len(asked.answers) == 2:
            self._asked.remove(asked)
        return len(asked.answers) > answers

    def _new_request(self) -> Repeated:
        body: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": self._chance.randint(20, 80)}
        if self._chance.random() < 0.5:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        asked = Repeated(self._tenant_id, f"{self._chance.getrandbits(128):x}", body)
        self._told.repeated.append(asked)
        return asked

    async def _note(self, response: ClientResponse, seen: Repeated) -> None:
        """Note an attempt, and its answer if that is whole."""
        replayed, request_id = "idempotent-replayed" in response.headers, response.headers["x-request-id"]
        attempt = Seen(self._tenant_id, response.status)
        if not replayed:
            seen.attempts.add(request_id)
            self._told.requests[request_id] = attempt
        answer = await response.read()
        ended = answer.endswith(b"data: [DONE]\n\n") or answer.startswith(b"{")
        if response.status == 200 and ended and b'"error":' not in answer:
            seen.answers.append(answer)
            seen.replays += replayed
            attempt.usage = answer_of(answer)[1]

    async def _read(self, response: ClientResponse, kind: str, seen: Seen) -> None:
        if response.status != 200:
            await response.read()
        elif kind == "plain":
            seen.usage = _usage(orjson.loads(await response.read()))
        else:
            leave_after = self._chance.randint(1, 10) if kind == "aborted" else None
            await _read_stream(response, seen, leave_after)


async def _read_stream(response: ClientResponse, seen: Seen, leave_after: int | None) -> None:
    """Read events until the end, or leave in the middle. What ends without `[DONE]` is not whole."""
    usage = None
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        if line.strip() == b"data: [DONE]":
            seen.usage = usage
            return
        chunk = orjson.loads(line[6:])
        if chunk.get("usage"):
            usage = _usage(chunk)
        if any(choice.get("delta", {}).get("content") for choice in chunk.get("choices", ())):
            seen.tokens_at.append(time.monotonic())
        if leave_after is not None and len(seen.tokens_at) >= leave_after:
            seen.left = True
            response.close()
            return


def answer_of(body: bytes) -> tuple[str, tuple[int, int, int]]:
    """Return the request id and the usage of a whole answer, plain or streamed."""
    parts = [body] if body.startswith(b"{") else [each[6:] for each in body.split(b"\n\n")[:-2]]
    last = orjson.loads(parts[-1])
    return "req_" + last["id"].removeprefix("chatcmpl-"), _usage(last)


def _usage(answer: dict[str, Any]) -> tuple[int, int, int]:
    usage = answer["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return usage["prompt_tokens"], cached, usage["completion_tokens"]
