"""An app behind uvicorn in this process, open for as long as a test needs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socket

import uvicorn


class AnnouncedServer(uvicorn.Server):
    """Says when it has opened its port."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.tried = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Open the port, unless the app fails to start."""
        try:
            await super().startup(sockets=sockets)
        finally:
            self.tried.set()


@asynccontextmanager
async def served(config: uvicorn.Config, sockets: list[socket] | None = None) -> AsyncIterator[None]:
    """Serve an app until the block ends."""
    server = AnnouncedServer(config)
    serving = asyncio.create_task(server.serve(sockets))
    await server.tried.wait()
    assert server.started, "the app did not start"
    try:
        yield
    finally:
        server.should_exit = True
        await serving
