"""How many requests a second a spool takes on record and settles, each waiting for the disk twice.

Run by hand: `python tests/bench/spool_cycles.py`. The directory should be on the kind of disk that will hold the spool.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from finpool.metering.spool.schemas import Intent, Outcome, Settlement
from finpool.metering.spool.spool import Spool

SPOOL_BYTES_MAX = 10**10
INTENT = Intent(
    request_id="req_0",
    tenant_id="bank-a",
    project_id="main",
    key_id="key_0123456789abcdefghijklmn",
    model_id="smollm2-135m-instruct",
    weights_sha256="0" * 64,
    price_version="smollm2-135m-instruct@0123456789ab",
    currency="CNY",
    input_picos=1_000_000,
    cached_input_picos=500_000,
    output_picos=2_000_000,
    policy_version=1,
    lease_ids=("lease_0123456789abcdefghijklmn", "lease_123456789abcdefghijklmno"),
    streamed=False,
    started_at="2026-01-01T00:00:00.000000+00:00",
)


async def requests(spool: Spool, name: str, until: float, marks: int) -> list[float]:
    """Put requests on record and settle them, one after the other; returns how long each took, in seconds."""
    took: list[float] = []
    while (begun := time.perf_counter()) < until:
        intent = replace(INTENT, request_id=f"req_{name}_{len(took)}")
        await spool.intend(intent)
        for mark in range(marks):
            spool.mark(intent.request_id, 100, 0, 64 * (mark + 1))
        await spool.settle(Settlement(intent, Outcome.COMPLETED, 100, 0, 200, False, "2026-01-01T00:00:01+00:00"))
        took.append(time.perf_counter() - begun)
    return took


async def measure(directory: Path, concurrency: int, seconds: float, marks: int) -> list[float]:
    """Return the seconds that each cycle took."""
    spool = Spool(directory, SPOOL_BYTES_MAX)
    try:
        until = time.perf_counter() + seconds
        parts = await asyncio.gather(*(requests(spool, str(each), until, marks) for each in range(concurrency)))
    finally:
        await spool.close()
    return [each for part in parts for each in part]


def main() -> None:
    """Measure at each concurrency and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, help="where to put the spool; by default the temporary directory")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--marks", type=int, default=0, help="marks of a streamed request")
    options = parser.parse_args()
    sys.stdout.write("spool: intent and settlement on disk | concurrency | cycles/s | p50 ms | p99 ms | CPU us/cycle\n")
    for concurrency in (1, 16, 64):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            spent = time.process_time()
            took = asyncio.run(measure(Path(directory), concurrency, options.seconds, options.marks))
        cuts = statistics.quantiles(took, n=100)
        rate, cpu = len(took) / options.seconds, (time.process_time() - spent) / len(took) * 1e6
        sys.stdout.write(
            f"| {concurrency} | {rate:.0f} | {cuts[49] * 1000:.2f} | {cuts[98] * 1000:.2f} | {cpu:.0f} |\n"
        )


if __name__ == "__main__":
    main()
