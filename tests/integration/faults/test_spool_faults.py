"""A spool that cannot be written for a while: requests are refused, and afterwards everything is as it should be."""

import asyncio
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from finpool.metering.errors import SpoolUnavailable
from finpool.metering.record_schemas import Intent
from finpool.metering.spool import Spool

LARGEST_SQLITE_INTEGER = 2**63 - 1
INTENT = Intent(
    request_id="req_1",
    tenant_id="bank-a",
    project_id="main",
    key_id="key",
    model_id="m",
    weights_sha256="0" * 64,
    price_version="v",
    currency="CNY",
    input_picos=3,
    cached_input_picos=1,
    output_picos=5,
    policy_version=1,
    lease_ids=("lease",),
    streamed=False,
    started_at="2026-01-01T00:00:00+00:00",
)


OPEN_MANY = """
import pathlib, sys
from finpool.metering import spool_file
for number in range(100):
    connection = spool_file.connect(pathlib.Path(sys.argv[1]) / str(number))
    print(spool_file.spool_id(connection))
    connection.close()
"""


def test_processes_that_open_new_spools_together_all_get_the_same_ones(tmp_path):
    # Whoever is behind catches up, because a spool that exists opens faster: they meet at the newest one.
    command = [sys.executable, "-c", OPEN_MANY, str(tmp_path)]
    openers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)]
    opened = {each.communicate(timeout=60)[0] for each in openers}
    assert len(opened) == 1, opened


@pytest.fixture
async def spool(tmp_path):
    opened = Spool(tmp_path, 10**9)
    yield opened
    await opened.close()


async def test_a_count_that_no_spool_can_hold_does_not_stop_the_spool(spool):
    await spool.intend(INTENT)
    spool.mark("req_1", LARGEST_SQLITE_INTEGER + 1, 0, 0)
    async with asyncio.timeout(10):
        await spool.intend(replace(INTENT, request_id="req_2"))


async def test_a_log_that_cannot_be_written_does_not_stop_the_spool(spool, monkeypatch):
    def disk_full(*_args, **_event):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("finpool.metering.spool._log.error", disk_full)
    await spool.intend(INTENT)
    async with asyncio.timeout(10):
        with pytest.raises(SpoolUnavailable):
            await spool.intend(INTENT)
        await spool.intend(replace(INTENT, request_id="req_2"))


async def test_a_write_after_the_end_is_refused_and_not_left_waiting(tmp_path):
    spool = Spool(tmp_path, 10**9)
    await spool.close()
    async with asyncio.timeout(10):
        with pytest.raises(SpoolUnavailable):
            await spool.intend(INTENT)


async def test_what_is_committed_is_never_reported_as_failed(spool, monkeypatch):
    def unreadable():
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(spool._writer, "_bytes_used", unreadable)
    await spool.intend(INTENT)
