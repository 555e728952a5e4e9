"""Without the token a replica answers no request."""

from typing import Any

import pytest

from finpool.serving.engine.routes_guard import PortGuard, TokenGuard

TOKEN = b"t" * 32


async def reach(guard: Any, path: str = "/v1/chat/completions", **changes: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        pytest.fail("a request was read before it was admitted")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": [], "client": ("192.0.2.9", 1), **changes}
    await guard(scope, receive, send)
    return sent


async def admitted(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "admitted"})


ADMITTED = [{"type": "admitted"}]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/usage", "/-/routes", "/-/healthz", "/x"])
@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer ", b"Bearer wrong", b"bearer " + TOKEN, TOKEN, b"Bearer " + TOKEN + b"x"]
)
async def test_every_path_asks_for_the_token(path: str, header: bytes | None) -> None:
    headers = [] if header is None else [(b"authorization", header)]
    for guard in (TokenGuard(admitted, TOKEN), PortGuard(admitted, TOKEN, probes_come_from_other_nodes=False)):
        start, body = await reach(guard, path=path, headers=headers)
        assert start["status"] == 401
        assert body["body"] == b'{"error":{}}'


async def test_the_token_opens_every_path() -> None:
    headers = [(b"authorization", b"Bearer " + TOKEN)]
    assert await reach(TokenGuard(admitted, TOKEN), headers=headers) == ADMITTED


async def test_a_websocket_without_the_token_is_closed() -> None:
    assert await reach(TokenGuard(admitted, TOKEN), type="websocket") == [{"type": "websocket.close", "code": 1008}]


async def test_serves_own_probe_passes_from_this_machine_only() -> None:
    guard = PortGuard(admitted, TOKEN, probes_come_from_other_nodes=False)
    assert await reach(guard, path="/-/healthz", client=("127.0.0.1", 1)) == ADMITTED
    assert (await reach(guard, path="/-/healthz"))[0]["status"] == 401
    assert (await reach(guard, path="/-/routes", client=("127.0.0.1", 1)))[0]["status"] == 401


async def test_in_a_cluster_serves_own_probe_passes_and_nothing_else() -> None:
    guard = PortGuard(admitted, TOKEN, probes_come_from_other_nodes=True)
    assert await reach(guard, path="/-/healthz") == ADMITTED
    assert (await reach(guard, path="/-/routes"))[0]["status"] == 401
