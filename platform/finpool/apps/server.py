"""The HTTP server of a door."""

import socket

import uvicorn

from finpool.kernel.collector import exempt_living_objects


class DoorServer(uvicorn.Server):
    """The server of a door: once its app has started, collections no longer search what the start has made."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app and listen."""
        await super().startup(sockets=sockets)
        exempt_living_objects()
