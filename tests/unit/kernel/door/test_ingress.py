"""A flood of refusals leaves few lines in the log, and their sum."""

from typing import Any

from structlog.testing import capture_logs

from finpool.kernel.door.ingress import LINES_OF_STRANGERS, Ingress

REQUESTS = 500


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Refuse every request."""
    if scope["type"] == "http":
        scope["state"]["error_code"] = "invalid_api_key"
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def nothing(*_: Any) -> None:
    """Receive and send nothing."""


async def test_a_flood_of_refusals_without_a_key_leaves_a_few_lines_and_the_sum_at_the_end() -> None:
    ingress = Ingress(refuse, "operator", 1024)
    with capture_logs() as lines:
        for number in range(REQUESTS):
            scope = {"type": "http", "method": "GET", "path": f"/{number}", "headers": []}
            await ingress(scope, nothing, nothing)  # type: ignore[arg-type]
        await ingress({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]
    assert [line["event"] for line in lines[:-1]] == ["request refused"] * LINES_OF_STRANGERS
    assert lines[-1] == {
        "event": "more requests refused",
        "log_level": "info",
        "source": "kernel.ingress",
        "door": "operator",
        "status": 401,
        "code": "invalid_api_key",
        "tenant_id": None,
        "count": REQUESTS - LINES_OF_STRANGERS,
    }
