"""How many usage records a second the recorder moves from a spool into Postgres, the audit log's outbox included.

Run by hand: `python tests/bench/recorder_rate.py`. Postgres and the recorder share the machine.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from spool_cycles import INTENT

from finpool.apps.migrate import migrate
from finpool.audit.sequencer import Sequencer
from finpool.catalogue.model.schemas import Price
from finpool.catalogue.price.schemas import TokenPrice
from finpool.installation.postgres import start_postgres, stop_postgres
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId
from finpool.kernel.settings import Settings
from finpool.metering.recorder.recorder import Recorder
from finpool.metering.spool import file as spool_file
from finpool.metering.spool.schemas import Outcome, RecordKind, Settlement, encode
from finpool.quota.models import Account, Budget, Lease
from finpool.tenancy.models import Tenant

GRANTED_PICOS = 10**18
PRICE = TokenPrice.of(
    INTENT.model_id,
    Price(
        currency="CNY",
        input_micros_per_million_tokens=INTENT.input_picos,
        cached_input_micros_per_million_tokens=INTENT.cached_input_picos,
        output_micros_per_million_tokens=INTENT.output_picos,
    ),
)


async def add_tenants(urls: dict[str, str], tenants: int) -> None:
    """Give each tenant an account with two budgets and a lease of each."""
    operator, inference = Database(urls["operator"], 1), Database(urls["inference"], 1)
    names = [f"bank-{number}" for number in range(tenants)]
    async with operator.across_tenants() as session:
        for name in names:
            session.add(Tenant(tenant_id=name, name=name, status="active", models=["*"], version=1, created_at=now()))
        await session.flush()
        session.add_all(Account(tenant_id=name, updated_at=now()) for name in names)
        await session.flush()
        for name in names:
            for budget in ("total", "prepaid"):
                scope: dict[str, Any] = {"set_by": "operator", "scope": "tenant", "scope_id": name, "period": budget}
                session.add(Budget(tenant_id=name, budget_id=budget, pending_picos=GRANTED_PICOS, **scope))
    async with inference.across_tenants() as session:
        for name in names:
            for budget in ("total", "prepaid"):
                held: dict[str, Any] = {
                    "replica_id": "local",
                    "spool_id": "bench",
                    "granted_picos": GRANTED_PICOS,
                    "opened_at": now(),
                }
                session.add(Lease(tenant_id=name, lease_id=f"lease_{budget}", budget_id=budget, **held))
    await operator.close()
    await inference.close()


def fill(directory: Path, records: int, tenants: int) -> None:
    """Write a spool as requests of all tenants leave it behind."""
    with contextlib.closing(spool_file.connect(directory)) as connection:
        connection.execute("BEGIN")
        for number in range(records):
            intent = replace(
                INTENT,
                request_id=f"req_{number:024d}",
                tenant_id=f"bank-{number % tenants}",
                lease_ids=("lease_total", "lease_prepaid"),
                price_version=PRICE.price_version,
            )
            settled = Settlement(intent, Outcome.COMPLETED, 100, 20, 200, False, "2026-01-01T00:00:01.000000+00:00")
            row = (RecordKind.SETTLEMENT, encode(settled))
            connection.execute("INSERT INTO record (kind, body) VALUES (?, ?)", row)
        connection.execute("COMMIT")


async def record_all(url: str, directory: Path) -> float:
    """Return the seconds that it took to record the whole spool."""
    database = Database(url, 2)
    recorder = Recorder(database, directory, ReplicaId("local"))
    begun = time.perf_counter()
    while await recorder.run_once():
        pass
    seconds = time.perf_counter() - begun
    recorder.close()
    await database.close()
    return seconds


async def sequence_all(url: str) -> float:
    """Return the seconds that the sequencer took to put as many events into the log."""
    database = Database(url, 1)
    sequencer = Sequencer(database)
    begun = time.perf_counter()
    while await sequencer.run_once():
        pass
    seconds = time.perf_counter() - begun
    await database.close()
    return seconds


@contextlib.contextmanager
def own_postgres() -> Iterator[dict[str, str]]:
    """Start a migrated Postgres of its own; yields the URL of each role."""
    home = Path(tempfile.mkdtemp(prefix="finpool-bench-"))
    try:
        server = start_postgres(home)
        urls: dict[str, Any] = {f"{role}_database_url": url for role, url in server.urls.items()}
        migrate(Settings(**urls))
        yield dict(server.urls)
    finally:
        stop_postgres(home)
        shutil.rmtree(home)


def main() -> None:
    """Measure and print one line for the recorder and one for the sequencer behind it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--tenants", type=int, default=20)
    options = parser.parse_args()
    with own_postgres() as urls, tempfile.TemporaryDirectory() as directory:
        asyncio.run(add_tenants(urls, options.tenants))
        fill(Path(directory), options.records, options.tenants)
        spent = time.process_time()
        seconds = asyncio.run(record_all(urls["worker"], Path(directory)))
        cpu = (time.process_time() - spent) / options.records * 1e6
        rate = options.records / seconds
        sys.stdout.write(f"recorder: {rate:.0f} usage records/s, {cpu:.0f} us of CPU each beside Postgres\n")
        seconds = asyncio.run(sequence_all(urls["worker"]))
        sys.stdout.write(f"sequencer: {options.records / seconds:.0f} entries/s" + "\n")


if __name__ == "__main__":
    main()
