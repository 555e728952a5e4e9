"""A load generator that costs little: keep-alive connections on the bare protocol, each asking again once answered."""

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import cast


@dataclass
class Load:
    """The requests of some connections to one place for a while. `answers` counts those of the warm-up too."""

    seconds: float = 0.0
    answers: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Return the latency that `share` of the answers did not pass."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class AnswerReader:
    """Collects the bytes of one answer, and tells when it has ended: by its length if it states one, else by HTTP's
    last chunk.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self._length: int | None = None

    def clear(self) -> None:
        """Begin with the next answer."""
        self.received.clear()
        self._length = None

    def is_whole(self, data: bytes) -> bool:
        """Add bytes; tell whether the answer has ended."""
        self.received += data
        if self._length is None:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            _, stated, rest = bytes(self.received[:end]).lower().partition(b"content-length:")
            self._length = end + 4 + int(rest.partition(b"\r\n")[0]) if stated else 0
        return len(self.received) >= self._length if self._length else self.received.endswith(b"\r\n0\r\n\r\n")


class Asker(asyncio.Protocol):
    """One connection: sends the same request again and again until told to stop."""

    def __init__(self, request: bytes, ending: bytes, load: Load, ended: "asyncio.Future[None]") -> None:
        self._request = request
        self._ending = ending
        self._load = load
        self._ended = ended
        self._answer = AnswerReader()
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._load.wrong.append(b"the connection was closed")
            self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self._answer.is_whole(data):
            return
        self._load.latencies_ms.append((time.perf_counter() - self._asked_at) * 1000)
        received = self._answer.received
        if not received.startswith(b"HTTP/1.1 200") or self._ending not in received[-400:]:
            self._load.wrong.append(bytes(received[:400]))
        if self.stopping:
            self._ended.set_result(None)
            self._transport.close()
        else:
            self._ask()

    def _ask(self) -> None:
        self._answer.clear()
        self._asked_at = time.perf_counter()
        self._transport.write(self._request)


def request_bytes(port: int, key: str, body: bytes) -> bytes:
    """Return a whole HTTP request for a chat completion."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _same(asker: Asker) -> Asker:
    return asker


async def ask(port: int, request: bytes, ending: bytes, *, connections: int, seconds: float) -> Load:
    """Keep `connections` requests under way for `seconds`; answers must have status 200 and hold `ending` at their end.

    The first fifth of the time warms up what is asked and is not counted.
    """
    loop, load = asyncio.get_running_loop(), Load()
    ends = [loop.create_future() for _ in range(connections)]
    askers = [Asker(request, ending, load, each) for each in ends]
    for asker in askers:
        await loop.create_connection(partial(_same, asker), "127.0.0.1", port)
    await asyncio.sleep(seconds / 5)
    load.answers = len(load.latencies_ms)
    load.latencies_ms.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    for asker in askers:
        asker.stopping = True
    load.seconds, counted = time.perf_counter() - started, len(load.latencies_ms)
    await asyncio.wait_for(asyncio.gather(*ends), 30)
    load.answers += len(load.latencies_ms)
    del load.latencies_ms[counted:]
    return load
