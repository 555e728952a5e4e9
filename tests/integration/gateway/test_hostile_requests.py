"""No request pauses the loop of a door for long, at any of the four doors."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from catalogue import HostileRequest, catalogue
from loop_pauses import loop_pauses
from served_bank import ServedBank
from served_doors import ServedDoor, platform_doors
from stalls import PAUSE_MS_MAX

from finpool.kernel.database.database import Database

DOCUMENTS = Path(__file__).parents[3] / "docs" / "openapi"
DOORS = ("inference", "tenant", "operator", "regulator")
FOUND = list(catalogue({door: json.loads((DOCUMENTS / f"{door}.json").read_text()) for door in DOORS}))
ANSWER_SECONDS_MAX = 60
TRIES = 3

SERVED_MS_MAX = 40.0
"""The engine of this test reads a served request on the same loop, which a real one does elsewhere."""


@pytest.fixture
async def doors(bank: ServedBank, database: Callable[[str], Database]) -> AsyncIterator[dict[str, ServedDoor]]:
    of_bank = ServedDoor(bank.url, await bank.add_tenant("bank-a"))
    async with platform_doors(bank.settings, database("owner")) as found:
        yield {"inference": of_bank, "tenant": of_bank, **found}


async def status_of(door: ServedDoor, request: HostileRequest, body: bytes) -> int:
    """Send a request on a connection of its own, as bytes: a client library would take time of the loop as well."""
    port = int(door.url.rpartition(":")[2])
    head = (
        f"{request.method} {request.path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {door.credential}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in request.headers)
        + (f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else "")
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + b"\r\n" + body)
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        first = await reader.readline()
    writer.close()
    return int(first.split()[1])


async def faults_of(door: ServedDoor, request: HostileRequest) -> list[str]:
    """Send a request up to three times; a pause that comes once has another reason, such as a page of memory."""
    body, found = request.body(), []
    for _ in range(TRIES):
        with loop_pauses(PAUSE_MS_MAX) as pauses:
            status = await status_of(door, request, body)
        if status // 100 not in request.status_classes:
            return [f"{request.name}: status {status}"]
        ms_max = SERVED_MS_MAX if status == 200 else PAUSE_MS_MAX
        found = [f"{request.name}: status {status}, {each}" for each in pauses if each.own_ms > ms_max]
        if not found:
            break
    return found


async def test_no_hostile_request_pauses_a_door(doors: dict[str, ServedDoor]) -> None:
    found = [each for request in FOUND for each in await faults_of(doors[request.door], request)]
    assert found == [], "\n".join(found)
