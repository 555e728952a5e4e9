"""`make bench`: the cost of a request with every check on, beside a bare pass-through, in the same run.

The app has one core of its own; the engine and the load share another. Rounds alternate between the app, the
pass-through and the engine itself. So other work of the machine slows all of them alike.
"""

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvloop
from hot_path_load import Load, ask, request_bytes
from hot_path_places import PLACES, Place, places
from hot_path_servers import STREAM_CHUNKS
from hot_path_tenant import MODEL
from open_loop import ask_on_schedule

CONNECTIONS = (1, 16, 64)


@dataclass(frozen=True)
class Kind:
    """The request, and the end of every whole answer."""

    name: str
    body: bytes
    ending: dict[str, bytes]


def _kind(name: str, ending: bytes, **options: object) -> Kind:
    body = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **options})
    return Kind(name, body, {"engine": b"[DONE]", "bare": b"[DONE]", "finpool": ending})


KINDS = (
    _kind("unary", b'"usage"', max_tokens=8),
    _kind(f"stream of {STREAM_CHUNKS}", b"[DONE]", max_tokens=STREAM_CHUNKS, stream=True),
)


@dataclass(frozen=True)
class Measured:
    """One measurement: the load's own figures, and the processor time that an answer took."""

    load: Load
    cpu_micros: float


def measure(places: dict[str, Place], key: str, seconds: float, rounds: int) -> Iterator[list[str]]:
    """Yield the table's rows. Each figure is the median over the rounds."""
    for kind in KINDS:
        for connections in CONNECTIONS:
            measured: dict[str, list[Measured]] = {name: [] for name in PLACES}
            for _ in range(rounds):
                for name in PLACES:
                    measured[name].append(_measure(places[name], name, key, kind, connections, seconds))
            yield _row(kind.name, connections, measured)


def _measure(place: Place, name: str, key: str, kind: Kind, connections: int, seconds: float) -> Measured:
    before = sum(place.process.cpu_times()[:2])
    request = request_bytes(place.port, key, kind.body)
    load = uvloop.run(ask(place.port, request, kind.ending[name], connections=connections, seconds=seconds))
    cpu_seconds = sum(place.process.cpu_times()[:2]) - before
    if load.wrong:
        raise SystemExit(f"{name} answered {len(load.wrong)} requests wrongly, as {load.wrong[0]!r}")
    if not load.latencies_ms:
        raise SystemExit(
            f"{name} answered nothing in {seconds} s: measure for longer, on a machine with less other work"
        )
    return Measured(load, cpu_seconds * 1e6 / load.answers)


def measure_open_loop(
    places: dict[str, Place], keys: list[str], *, seconds: float, closed_seconds: float
) -> Iterator[list[str]]:
    """Yield the rows of requests on a schedule, at half of the rate that finpool reaches with 16 connections.

    All places get the same rate, in turn. The requests go round the tenants.
    """
    for kind in KINDS:
        closed = _measure(places["finpool"], "finpool", keys[0], kind, 16, closed_seconds)
        rate = closed.load.per_second / 2
        for name in PLACES:
            place = places[name]
            requests = [request_bytes(place.port, key, kind.body) for key in keys]
            # Each tenant's first request opens its lease; that is not what is measured.
            warm = ask_on_schedule(place.port, requests, kind.ending[name], rate=rate / 4, seconds=4 * len(keys) / rate)
            uvloop.run(warm)
            before = place.process.memory_info().rss
            if place.pauses is not None:
                place.pauses.begin()
            load = uvloop.run(ask_on_schedule(place.port, requests, kind.ending[name], rate=rate, seconds=seconds))
            if load.wrong:
                raise SystemExit(f"{name} answered {len(load.wrong)} requests wrongly, as {load.wrong[0]!r}")
            grown = place.process.memory_info().rss - before
            quantiles = [f"{load.quantile_ms(share):.2f}" for share in (0.5, 0.99, 0.999)]
            row = [kind.name, name, f"{rate:,.0f}", f"{len(load.latencies_ms):,}", *quantiles]
            pause = "" if place.pauses is None else f"{place.pauses.longest()[0]:.1f}"
            yield [*row, pause, f"{before / 1e6:.0f}", f"{grown / 1e6:+.1f}"]


def _row(kind: str, connections: int, measured: dict[str, list[Measured]]) -> list[str]:
    rate = {name: statistics.median(each.load.per_second for each in measured[name]) for name in PLACES}
    cpu = {name: statistics.median(each.cpu_micros for each in measured[name]) for name in PLACES}
    pairs = list(zip(measured["finpool"], measured["bare"], strict=True))
    ratio = statistics.median(app.load.per_second / bare.load.per_second for app, bare in pairs)
    cpu_ratio = statistics.median(bare.cpu_micros / app.cpu_micros for app, bare in pairs)
    row = [kind, str(connections), *(f"{rate[name]:,.0f}" for name in PLACES), f"{ratio:.2f}"]
    row += [f"{cpu['bare']:,.0f}", f"{cpu['finpool']:,.0f}", f"{cpu_ratio:.2f}"]
    for share in (0.5, 0.99):
        at = {name: statistics.median(each.load.quantile_ms(share) for each in measured[name]) for name in PLACES}
        row += [f"{at['bare'] - at['engine']:.2f}", f"{at['finpool'] - at['engine']:.2f}"]
    return row


HEAD = (
    *("", "conns", "engine/s", "bare/s", "finpool/s", "ratio", "bare us", "finpool us", "ratio"),
    *("bare p50+", "p50+ ms", "bare p99+", "p99+ ms"),
)
NOTE = """\
p50+ and p99+: milliseconds that finpool (or bare) adds to asking the engine itself. ratio: of finpool/s to bare/s.
us: microseconds of processor time a request takes, in all threads, and bare's to finpool's as a ratio: what else the
machine does changes the first ratio more than this one. engine/s is what the load generator and the engine reach
together, on the core they share: no place can show more.
"""
OPEN_HEAD = ("", "", "rate/s", "answers", "p50 ms", "p99 ms", "p99.9 ms", "pause ms", "MB before", "MB grown")
OPEN_NOTE = """
Open loop with {tenants} tenants: requests leave on a schedule, and a latency counts from its scheduled moment.
pause: the longest pause of its loop, computing or waiting, without the time that other processes had its processor.
MB: the resident memory of its process.
"""


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement of the closed loop")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure; 0 leaves the table out")
    parser.add_argument("--open-seconds", type=float, default=20, help="of each row of the open loop")
    parser.add_argument(
        "--tenants", type=int, default=100, help="tenants that exist; at most 100 of them send requests"
    )
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="finpool-bench-"))
    try:
        with places(home, options.tenants) as (found, keys):
            if options.rounds:
                _show_table(NOTE, HEAD, measure(found, keys[0], options.seconds, options.rounds))
            rows = measure_open_loop(
                found, keys, seconds=options.open_seconds, closed_seconds=max(3.0, options.seconds)
            )
            _show_table(OPEN_NOTE.format(tenants=options.tenants), OPEN_HEAD, rows)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _show_table(note: str, head: Iterable[str], rows: Iterable[list[str]]) -> None:
    show(note)
    for row in itertools.chain([head], rows):
        show(" ".join(f"{each:>12}" for each in row))


if __name__ == "__main__":
    main()
