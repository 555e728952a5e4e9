"""The open connections of a door, and which of them makes room for a new one.

A full door closes the connection that has waited longest for a request that has not arrived, then the one that has been
idle longest. A connection whose request has arrived is never closed for another. The bound of an address works in the
same way among that address's own connections, so one address cannot displace others.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from finpool.apps.connection.client_addresses import TrustedProxies, block_of
from finpool.kernel.errors import DomainError, TooManyConnections, Unavailable
from finpool.kernel.settings import Settings

RESERVED_CONNECTIONS = 32
"""Connections above the bound that are accepted, for `/healthz` and for refusals; one more is closed at once."""

LOOKS_MAX = 64
"""How many connections are tried before the search for one to close ends."""


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """The bounds of one door: open connections in all, of one address, and requests under way of one key."""

    connections_max: int
    per_address_max: int
    per_key_max: int

    @classmethod
    def of(cls, settings: Settings, connections_max: int) -> "ConnectionBounds":
        """Return the bounds; with fewer connections than the setting says, the other bounds shrink alike."""
        kept, of_all = min(connections_max, settings.connections_max), settings.connections_max
        return cls(
            connections_max=kept,
            per_address_max=max(1, settings.connections_per_address_max * kept // of_all),
            per_key_max=max(1, settings.requests_per_key_max * kept // of_all),
        )


class Origin:
    """The open connections of one address; those of a trusted proxy have no bound."""

    __slots__ = ("connections", "name", "trusted")

    def __init__(self, name: str, *, trusted: bool) -> None:
        self.name = name
        self.trusted = trusted
        self.connections = 0


class DoorConnection(Protocol):
    """A connection as its door's table knows it; `origin` is None once it has left the table.

    A `spare` one was accepted above a bound: it is served `/healthz`, and other requests once there is room.
    """

    origin: Origin | None
    spare: bool

    def give_way(self) -> bool:
        """Close the connection unless its request has arrived or is being answered; tell whether it was closed."""


class DoorConnections:
    """The table of one door's open connections, and its counts of requests under way."""

    def __init__(self, bounds: ConnectionBounds, trusted: TrustedProxies) -> None:
        self.bounds = bounds
        self._trusted = trusted
        self._open = 0
        self._origins: dict[str, Origin] = {}
        self._under_way: dict[bytes, int] = {}
        # Dictionaries keep the order of insertion, so the first connection has waited longest.
        self.half_open: dict[DoorConnection, None] = {}
        self.idle: dict[DoorConnection, None] = {}

    def admit(self, connection: DoorConnection, host: str) -> bool:
        """Take a new connection in, if necessary in place of another; return False if it has to be closed."""
        name = block_of(host)
        origin = self._origins.get(name)
        if origin is None:
            origin = self._origins[name] = Origin(name, trusted=self._trusted.include(host))
        connection.origin = origin
        origin.connections += 1
        self._open += 1
        if self._over_bound(origin):
            self._make_room(origin)
        if self._open > self.bounds.connections_max:
            self._make_room(None)
        connection.spare = self._open > self.bounds.connections_max or self._over_bound(origin)
        if self._open > self.bounds.connections_max + RESERVED_CONNECTIONS:
            self.leave(connection)
            return False
        return True

    def leave(self, connection: DoorConnection) -> None:
        """Take a connection out, however often this is called."""
        origin = connection.origin
        if origin is None:
            return
        connection.origin = None
        self.half_open.pop(connection, None)
        self.idle.pop(connection, None)
        self._open -= 1
        origin.connections -= 1
        if not origin.connections:
            del self._origins[origin.name]

    def refusal_of(self, connection: DoorConnection) -> DomainError | None:
        """Return why a spare connection is still not served, or None once there is room for it."""
        if self._open > self.bounds.connections_max:
            return Unavailable("The platform has too many connections open; try again shortly.")
        if connection.origin is not None and self._over_bound(connection.origin):
            most = self.bounds.per_address_max
            return TooManyConnections(f"Your address has more than {most} connections open; close some of them.")
        connection.spare = False
        return None

    def begin(
        self, origin: Origin | None, credential: bytes, forwarded: bytes
    ) -> tuple[bytes, ...] | TooManyConnections:
        """Count a request under its key, and behind a trusted proxy under the forwarded address.

        Returns the names it is counted under, for `end`, or the refusal.
        """
        counted: tuple[bytes, ...] = ()
        if credential:
            most = self.bounds.per_key_max
            if not self._begin(credential, most):
                return TooManyConnections(f"Your key has {most} requests under way at this door.")
            counted = (credential,)
        if forwarded and origin is not None and origin.trusted:
            client = self._trusted.client_of(forwarded)
            if client is not None:
                name, most = f"address {client}".encode(), self.bounds.per_address_max
                if not self._begin(name, most):
                    self.end(counted)
                    return TooManyConnections(f"Your address has {most} requests under way at this door.")
                counted += (name,)
        return counted

    def end(self, names: Iterable[bytes]) -> None:
        """Count the end of a request under each of its names."""
        for name in names:
            left = self._under_way[name] - 1
            if left:
                self._under_way[name] = left
            else:
                del self._under_way[name]

    def _begin(self, name: bytes, most: int) -> bool:
        count = self._under_way.get(name, 0)
        if count >= most:
            return False
        self._under_way[name] = count + 1
        return True

    def _over_bound(self, origin: Origin) -> bool:
        return origin.connections > self.bounds.per_address_max and not origin.trusted

    def _make_room(self, origin: Origin | None) -> None:
        """Close a waiting connection, of one address or of any."""
        for waiting in (self.half_open, self.idle):
            looks_left = LOOKS_MAX
            for connection in waiting:
                if origin is not None and connection.origin is not origin:
                    continue
                if connection.give_way():
                    self.leave(connection)
                    return
                looks_left -= 1
                if not looks_left:
                    break
