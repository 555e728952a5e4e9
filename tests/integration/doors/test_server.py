"""The server of a door."""

import gc

import uvicorn
from starlette.types import Receive, Scope, Send

from finpool.apps.server import DoorServer


async def test_collections_do_not_search_what_the_start_of_a_door_has_made() -> None:
    made: list[dict[str, object]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        made.append({"snapshot": made})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="on", log_config=None)
    config.load()
    server = DoorServer(config)
    server.lifespan = config.lifespan_class(config)
    try:
        await server.startup()
        assert server.started
        assert not any(each is made[0] for each in gc.get_objects())
    finally:
        gc.unfreeze()
        await server.shutdown()
