"""Fair seats at a door: no caller holds them all, and waiting callers are served round robin.

A caller is a tenant, or the person with a token. Each waiting caller has a queue of its own, first come, first served.
A free seat goes to the caller that got one longest ago (round robin), so a long queue delays its own caller only.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from finpool.kernel.actor import Actor
from finpool.kernel.errors import DomainError, QueryTooLong, TooManyAtOnce, Unavailable
from finpool.kernel.settings import Settings

DOCUMENTS_WAITING_MAX = 4
"""Documents one caller may have waiting: each takes seconds, so a longer queue would only end in a timeout."""

_REFUSAL_SECONDS = 0.5
"""How long the refusal of a full queue waits: a caller at full speed would fill the door with refusals otherwise."""

_REQUESTS_RETRY_SECONDS = 1
_DOCUMENTS_RETRY_SECONDS = 5

REFUSALS: tuple[type[DomainError], ...] = (TooManyAtOnce, QueryTooLong)
"""The errors of a door with seats, on every route with a permission."""


class FairSeats:
    """Seats of which one caller holds at most `of_one_max`, and all callers together `seats_max` (None: no bound).

    `refusal` makes the error of a request that finds `waiting_max` others of its caller waiting, or that has waited
    for `wait_seconds_max`. Of a full queue it is raised after `refusal_seconds`.
    """

    def __init__(
        self,
        *,
        of_one_max: int,
        seats_max: int | None,
        waiting_max: int,
        wait_seconds_max: float,
        refusal: Callable[[str], DomainError],
        refusal_seconds: float = 0,
    ) -> None:
        self.of_one_max = of_one_max
        self.seats_max = seats_max
        self._waiting_max = waiting_max
        self._wait_seconds_max = wait_seconds_max
        self._refusal = refusal
        self._refusal_seconds = refusal_seconds
        self._held: Counter[str] = Counter()
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def seat(self, caller: str) -> AsyncIterator[None]:
        """Hold a seat of the caller; wait for one if need be, or raise the refusal."""
        if caller in self._queues or not self._free_for(caller):
            await self._wait(caller)
        else:
            self._held[caller] += 1
        try:
            yield
        finally:
            self._give_up(caller)

    def held_by(self, caller: str) -> int:
        """Return the number of seats that a caller holds."""
        return self._held[caller]

    def waiting_of(self, caller: str) -> int:
        """Return the number of a caller's waiting requests."""
        return len(self._queues.get(caller, ()))

    async def _wait(self, caller: str) -> None:
        waiting = self.waiting_of(caller)
        if waiting >= self._waiting_max:
            await asyncio.sleep(self._refusal_seconds)
            raise self._refusal(f"{self.of_one_max} are in progress and {waiting} are waiting")
        got = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(got)
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await got
        except BaseException as error:
            self._leave(caller, got)
            if isinstance(error, TimeoutError):
                raise self._refusal(f"none became free within {self._wait_seconds_max:g} seconds") from None
            raise

    def _leave(self, caller: str, got: asyncio.Future[None]) -> None:
        """Take a request out of its queue; a seat that it has got meanwhile goes on to the next."""
        if got.done() and not got.cancelled():
            self._give_up(caller)
            return
        queue = self._queues.get(caller)
        if queue is not None and got in queue:
            queue.remove(got)
            if not queue:
                del self._queues[caller]

    def _give_up(self, caller: str) -> None:
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self._hand_out()

    def _free_for(self, caller: str) -> bool:
        return self._held[caller] < self.of_one_max and (self.seats_max is None or self._held.total() < self.seats_max)

    def _hand_out(self) -> None:
        """Give free seats to waiting callers; each that got one goes to the end of the round."""
        for caller in list(self._queues):
            queue = self._queues[caller]
            while queue and queue[0].done():
                queue.popleft()  # Its request was cancelled, and leaves the queue as soon as it runs.
            if queue and self._free_for(caller):
                self._held[caller] += 1
                queue.popleft().set_result(None)
                if queue:
                    self._queues[caller] = self._queues.pop(caller)
            if not queue:
                del self._queues[caller]


@dataclass(frozen=True)
class DoorSeats:
    """The seats at one door: of plain requests, of requests that make a document, and at the database.

    A request that makes a document takes no seat of plain requests, so a caller's exports do not delay its own views.
    """

    requests: FairSeats
    documents: FairSeats
    connections: FairSeats

    @classmethod
    def of(cls, settings: Settings, *, reserved_connections: int = 0) -> "DoorSeats":
        """Return the seats of a door; `reserved_connections` of its pool are for others, such as authentication.

        No caller holds more than half of the rest, so another one finds a connection at once, or has the next one.
        """
        requests_max, documents_max = settings.caller_requests_max, settings.caller_documents_max
        connections_max = max(1, settings.database_pool_connections_max - reserved_connections)
        wait_seconds_max = settings.caller_wait_seconds_max
        return cls(
            requests=FairSeats(
                of_one_max=requests_max,
                seats_max=None,
                waiting_max=settings.caller_requests_waiting_max,
                wait_seconds_max=wait_seconds_max,
                refusal=lambda why: TooManyAtOnce("requests", why, _REQUESTS_RETRY_SECONDS),
                refusal_seconds=_REFUSAL_SECONDS,
            ),
            documents=FairSeats(
                of_one_max=documents_max,
                seats_max=max(settings.documents_max, documents_max),
                waiting_max=DOCUMENTS_WAITING_MAX,
                wait_seconds_max=wait_seconds_max,
                refusal=lambda why: TooManyAtOnce("documents", why, _DOCUMENTS_RETRY_SECONDS),
                refusal_seconds=_REFUSAL_SECONDS,
            ),
            connections=FairSeats(
                of_one_max=max(1, connections_max // 2),
                seats_max=connections_max,
                # A request needs one connection, so no more can wait than have a seat.
                waiting_max=requests_max + documents_max,
                wait_seconds_max=wait_seconds_max,
                refusal=lambda why: Unavailable(f"The database is busy: of your connections, {why}. Try again."),
            ),
        )


def caller_of(actor: Actor) -> str:
    """Return the name under which an actor holds seats: its tenant, or the token of an operator or a regulator."""
    return actor.tenant_id or actor.credential_id
