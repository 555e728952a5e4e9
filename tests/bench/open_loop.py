"""Open-loop load: requests leave on a fixed schedule, whether or not earlier ones are answered.

Each latency counts from the scheduled moment, so a pause of the server shows in every request that it delayed.
"""

import asyncio
import gc
import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from hot_path_load import AnswerReader

CONNECTIONS_MAX = 256
_DRAIN_SECONDS_MAX = 30


@dataclass
class OpenLoad:
    """The answers of one run. Latencies are milliseconds, in the order of their answers."""

    seconds: float = 0.0
    scheduled: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float:
        """Return the latency that `share` of the answers did not pass."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Schedule:
    """Sends request `i` at `start + i / rate` on an idle connection, or as soon as one is idle."""

    def __init__(self, requests: Sequence[bytes], ending: bytes, rate: float, seconds: float) -> None:
        self._requests, self._ending = itertools.cycle(requests), ending
        self.load = OpenLoad(seconds=seconds)
        self._count = int(rate * seconds)
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Sender] = deque()
        self._waiting: deque[float] = deque()
        self._open = 0
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self, senders: list["Sender"]) -> None:
        """Begin to send; `ended` is done once every answer has arrived."""
        self._idle.extend(senders)
        self._started = time.perf_counter()
        self._send_due()

    def answered(self, sender: "Sender", due: float, answer: bytes) -> None:
        """Count an answer, and give its connection the oldest request that waits for one."""
        self.load.latencies_ms.append((time.perf_counter() - due) * 1000)
        if not answer.startswith(b"HTTP/1.1 200") or self._ending not in answer[-400:]:
            self.load.wrong.append(answer[:400])
        self._open -= 1
        if self._waiting:
            self._send(sender, self._waiting.popleft())
        else:
            self._idle.append(sender)
        self._end_if_done()

    def broken(self) -> None:
        """End the run: a connection was closed."""
        if not self.ended.done():
            self.load.wrong.append(b"the connection was closed")
            self.ended.set_result(None)

    def _send_due(self) -> None:
        elapsed = time.perf_counter() - self._started
        until = min(self._count, int(elapsed * self._rate) + 1)
        while self.load.scheduled < until:
            due = self._started + self.load.scheduled / self._rate
            self.load.scheduled += 1
            if self._idle:
                self._send(self._idle.popleft(), due)
            else:
                self._waiting.append(due)
        if self.load.scheduled < self._count:
            following = self._started + self.load.scheduled / self._rate
            self._loop.call_later(max(0.0, following - time.perf_counter()), self._send_due)
        self._end_if_done()

    def _send(self, sender: "Sender", due: float) -> None:
        self._open += 1
        sender.send(next(self._requests), due)

    def _end_if_done(self) -> None:
        done = self.load.scheduled >= self._count and not self._open and not self._waiting
        if done and not self.ended.done():
            self.ended.set_result(None)


class Sender(asyncio.Protocol):
    """One keep-alive connection that has at most one request open."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._answer = AnswerReader()
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._schedule.broken()

    def data_received(self, data: bytes) -> None:
        if self._answer.is_whole(data):
            self._schedule.answered(self, self._due, bytes(self._answer.received))

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at `due`, a reading of the performance counter."""
        self._answer.clear()
        self._due = due
        self._transport.write(request)


async def ask_on_schedule(
    port: int, requests: Sequence[bytes], ending: bytes, *, rate: float, seconds: float
) -> OpenLoad:
    """Send the requests in turn, `rate` a second for `seconds`, over at most `CONNECTIONS_MAX` connections."""
    schedule = Schedule(requests, ending, rate, seconds)
    loop, senders = asyncio.get_running_loop(), []
    for _ in range(CONNECTIONS_MAX):
        _, sender = await loop.create_connection(partial(Sender, schedule), "127.0.0.1", port)
        senders.append(sender)
    gc.collect()
    gc.disable()  # A collection here would look like a pause of the server.
    try:
        schedule.start(senders)
        await asyncio.wait_for(asyncio.shield(schedule.ended), seconds + _DRAIN_SECONDS_MAX)
    finally:
        gc.enable()
    return schedule.load
