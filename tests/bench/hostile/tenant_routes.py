"""One bank's expensive requests beside another bank's plain view: `python tests/bench/hostile/tenant_routes.py`.

Each case is a route that one bank calls 20 times at once, at full speed and without regard to refusals. Another bank
reads its account meanwhile. A row compares the 99th percentile of that view with the one alone, measured just before.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tenant_data import BEGINS, BUSY, ENDS, MONTH, QUIET, RARE_KEY, fill, tokens

from finpool.apps.migrate import migrate
from finpool.installation.postgres import start_postgres, stop_postgres
from finpool.kernel.settings import Settings

AT_ONCE = 20
SERVER = Path(__file__).with_name("tenant_server.py")
_START_SECONDS_MAX = 60
_VIEWS_MIN = 10


@dataclass(frozen=True)
class Row:
    """One case. `pause_ms` is the longest pause of the door's loop, `busy_ms` the computing within one.

    `failed` counts the quiet caller's views that were not answered with a 200.
    """

    name: str
    p99_alone_ms: float
    p99_beside_ms: float
    pause_ms: float
    busy_ms: float
    failed: int
    statuses: dict[int, int]


@dataclass(frozen=True)
class Case:
    """A request of the busy caller."""

    name: str
    path: str


@dataclass(frozen=True)
class Door:
    """A running door, the credentials of its busy and its quiet caller, and the view of the quiet one."""

    url: str
    busy: str
    quiet: str
    view: str


def tenant_cases(invoice_id: str) -> list[Case]:
    """Return the expensive requests of a bank."""
    own = "/v1/organization"
    groups = "&".join(f"group_by={each}" for each in ("project_id", "api_key_id", "model"))
    span = f"start_time={BEGINS}&end_time={ENDS}"
    return [
        Case("invoice as PDF", f"{own}/invoices/{invoice_id}/file"),
        Case("invoice as CSV", f"{own}/invoices/{invoice_id}/file?format=csv"),
        Case("invoice as JSON", f"{own}/invoices/{invoice_id}"),
        Case("draft of the next invoice", f"{own}/invoices/draft"),
        Case("FOCUS as Parquet", f"{own}/focus?from={MONTH}&to={MONTH}&format=parquet"),
        Case("usage by minute and group", f"{own}/usage/completions?{span}&bucket_width=1m&limit=1440&{groups}"),
        Case("usage by day and group", f"{own}/usage/completions?{span}&bucket_width=1d&limit=31&{groups}"),
        Case("costs by day and group", f"{own}/costs?{span}&limit=31&group_by=project_id&group_by=line_item"),
        Case("audit trail, 100 entries", f"{own}/audit_logs?limit=100"),
        Case("audit trail by resource", f"{own}/audit_logs?resource_ids={RARE_KEY}"),
    ]


REGULATOR_CASES = [
    Case("1,000 entries of the log", "/v1/entries?limit=1000"),
    Case("usage of all banks by day", "/v1/usage?from=2025-01-01T00:00:00Z&to=2025-02-01T00:00:00Z&group_by=day"),
    Case("institutions", "/v1/institutions"),
]


async def rows(settings: Settings, invoice_id: str, examiners: tuple[str, str], seconds: float) -> list[Row]:
    """Measure every case on doors of their own, over a filled database."""
    found = []
    async with served("tenant", settings) as url:
        door = Door(url, BUSY, QUIET, "/v1/organization/account")
        found += [await measure(door, case, seconds) for case in tenant_cases(invoice_id)]
    async with served("regulator", settings) as url:
        door = Door(url, *examiners, "/v1/institutions?limit=1&after=bank-a")
        found += [await measure(door, case, seconds) for case in REGULATOR_CASES]
    return found


async def measure(door: Door, case: Case, seconds: float) -> Row:
    """Measure the quiet caller's view for some seconds alone, then as long beside the busy caller."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(door.url, connector=connector, timeout=aiohttp.ClientTimeout(600)) as client:
        await views(client, door, seconds=0.2)
        alone, failed_alone = await views(client, door, seconds)
        if failed_alone:
            raise RuntimeError("the quiet caller is refused while it is alone")
        await pauses(client)
        statuses: Counter[int] = Counter()
        stop = asyncio.Event()
        busy = [asyncio.create_task(ask_again(client, door, case, stop, statuses)) for _ in range(AT_ONCE)]
        beside, failed = await views(client, door, seconds)
        longest = await pauses(client)
        stop.set()
        await asyncio.gather(*busy)
    return Row(case.name, p99(alone), p99(beside), longest["wall_ms"], longest["busy_ms"], failed, dict(statuses))


async def views(client: aiohttp.ClientSession, door: Door, seconds: float) -> tuple[list[float], int]:
    """Read the quiet caller's view again and again; return the times in milliseconds, and how many failed."""
    found: list[float] = []
    failed = 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(found) < _VIEWS_MIN:
        began = time.perf_counter()
        status = await ask(client, door.view, door.quiet)
        failed += status != 200
        found.append((time.perf_counter() - began) * 1000)
    return found, failed


async def ask_again(
    client: aiohttp.ClientSession, door: Door, case: Case, stop: asyncio.Event, statuses: Counter[int]
) -> None:
    while not stop.is_set():
        statuses[await ask(client, case.path, door.busy)] += 1


async def ask(client: aiohttp.ClientSession, path: str, credential: str) -> int:
    async with client.get(path, headers={"authorization": f"Bearer {credential}"}) as answer:
        await answer.read()
        return answer.status


async def pauses(client: aiohttp.ClientSession) -> dict[str, float]:
    async with client.get("/pauses") as answer:
        found: dict[str, float] = await answer.json()
        return found


def p99(times_ms: Sequence[float]) -> float:
    """Return the time that 99 of 100 did not pass."""
    ordered = sorted(times_ms)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


@asynccontextmanager
async def served(name: str, settings: Settings) -> AsyncIterator[str]:
    """Serve a door in a process of its own; yields its URL."""
    port = settings.port + (0 if name == "tenant" else 2)
    roles = {f"{role}_database_url": settings.database_url(role) for role in ("tenant", "regulator")}
    environment = {**roles, "secrets_dir": str(settings.secrets_path), "home": str(settings.home)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SERVER),
        name,
        str(port),
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, **{f"FINPOOL_{key.upper()}": value for key, value in environment.items()}},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await answering(url)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def answering(url: str) -> None:
    """Wait until a door answers."""
    until = time.perf_counter() + _START_SECONDS_MAX
    async with aiohttp.ClientSession() as client:
        while time.perf_counter() < until:
            try:
                async with client.get(f"{url}/pauses"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} did not start")


def printed(found: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [
        f"{'beside 20 of':28} {'alone':>9} {'beside':>9} {'ratio':>6} {'pause':>9} {'busy':>9} {'failed':>6}  answers"
    ]
    lines += [
        f"{row.name:28} {row.p99_alone_ms:6.1f} ms {row.p99_beside_ms:6.1f} ms"
        f" {row.p99_beside_ms / row.p99_alone_ms:6.1f} {row.pause_ms:6.1f} ms {row.busy_ms:6.1f} ms {row.failed:6}"
        f"  {row.statuses}"
        for row in found
    ]
    return "\n".join(lines)


async def measured(settings: Settings, arguments: argparse.Namespace) -> list[Row]:
    """Fill the database, then measure."""
    owner, operator = settings.database_url("owner"), settings.database_url("operator")
    invoice_id = await fill(owner, operator, arguments.rows, arguments.entries)
    examiners = await tokens(owner, settings.secret("key_pepper"))
    return await rows(settings, invoice_id, examiners, arguments.seconds)


def main() -> None:
    """Measure on a Postgres of its own, which is removed again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="usage records of the busy bank")
    parser.add_argument("--entries", type=int, default=200_000, help="entries of its log")
    parser.add_argument("--seconds", type=float, default=4.0, help="time of each measurement, of which a case has two")
    parser.add_argument("--port", type=int, default=18600)
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="finpool-bench-"))
    try:
        postgres = start_postgres(home)
        try:
            (home / "secrets").mkdir(mode=0o700, exist_ok=True)
            (home / "secrets" / "key_pepper").write_text("p" * 64)
            urls = {f"{role}_database_url": url for role, url in postgres.urls.items()}
            settings = Settings(home=home, port=arguments.port, **urls)  # type: ignore[arg-type]
            migrate(settings)
            sys.stdout.write(printed(asyncio.run(measured(settings, arguments))) + "\n")
        finally:
            stop_postgres(home)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
