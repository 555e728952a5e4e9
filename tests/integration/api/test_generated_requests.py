"""Schemathesis calls every door as its committed document says, and against what it says.

It covers each bound of each schema, makes random requests, and follows ids from one answer into the next request.
`FINPOOL_TEST_API_CASES` are the random requests for each operation, `FINPOOL_TEST_SEED` their seed.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from generated_report import GeneratedReport
from served_doors import ServedDoor
from structlog.testing import capture_logs

ROOT = Path(__file__).parents[3]
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
CASES = int(os.environ.get("FINPOOL_TEST_API_CASES", "6"))
CASES_OF_AN_OPERATION_MIN = 25
"""With the operations of all doors, 90 and more, these are over 2,000 requests."""

NEVER_SERVED_SHARE_MAX = 0.1
"""At least nine in ten operations must have done their work once: refusals alone would test little."""

SHAPE_CODES = frozenset({"invalid_request", "invalid_value", "unknown_parameter", "invalid_json"})
"""The codes of a refusal for the shape of a request; each other code is that of a state or of a missing right."""

OF_SEVERAL_FIELDS = ("body", "query")
"""The `param` of a rule about several fields of a request, which a schema of one field cannot say."""

RULES_BEYOND_A_SCHEMA: Mapping[str, str] = {
    "must be later than": "a schema cannot compare two fields",
    "must be earlier than": "a schema cannot compare two fields",
    "must not be later than": "a schema cannot compare two fields",
    "must not be earlier than": "a schema cannot compare two fields",
    "windows: take longer ones": "a schema cannot divide two fields",
    "days: ask for a shorter time": "a schema cannot subtract two fields",
    "for this bucket_width": "a schema cannot give a bound for each value of another field",
    "This model": "each model has its own bounds",
    "page does not continue": "a page is one that an answer named",
    "is above": "a schema cannot compare two fields",
    "must stand alone": "a schema cannot make one item exclude others",
    "twice": "a schema cannot compare one field of all items",
    "not both": "a schema that excludes one field beside another would hide the fields' own descriptions",
    "needs content or tool_calls": "the same",
    "needs stream": "the same",
    "must follow": "the messages of a conversation depend on each other",
    "control characters": "JSON Schema has no portable pattern for the characters of names",
    "the character NUL": "the same",
    "valid integer": "as for a whole number",
    "whole number": "JSON Schema takes 2.0 for an integer; the doors take 2 only, so that amounts stay exact",
}
"""Parts of the messages that refuse a request which a document cannot tell from a valid one."""


@pytest.mark.parametrize("door", ["inference", "tenant", "operator", "regulator"])
async def test_generated_requests_meet_documented_answers_only(
    door: str,
    doors: dict[str, ServedDoor],
    ids: dict[str, list[str | int]],
    seed: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    document = ROOT / "docs" / "openapi" / f"{door}.json"
    operations = {
        f"{method.upper()} {path}"
        for path, methods in json.loads(document.read_text())["paths"].items()
        for method in methods
    }
    configuration, written = tmp_path / "schemathesis.toml", tmp_path / "report.ndjson"
    dictionaries = "".join(f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n" for name, values in ids.items())
    configuration.write_text(f"{CONFIGURATION.read_text()}\n{dictionaries}")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run", str(document)),
        *("--url", doors[door].url, "--header", f"Authorization: Bearer {doors[door].credential}"),
        *("--seed", str(seed), "--max-examples", str(CASES), "--workers", "1", "--no-color"),
        *("--report", "ndjson", "--report-ndjson-path", str(written)),
    ]
    with capture_logs() as logs:
        run = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
        )
        said, _ = await run.communicate()
    assert run.returncode == 0, said.decode()
    assert [each for each in logs if each["log_level"] in ("error", "critical")] == []

    report = GeneratedReport(written)
    counts = ", ".join(f"{count} in {phase}" for phase, count in report.by_phase.items())
    options = f"FINPOOL_TEST_SEED={seed} FINPOOL_TEST_API_CASES={CASES}"
    record_property("counted", f"{door} door: {len(report.exchanges)} generated requests ({counts}), {options}")
    assert len(report.exchanges) >= CASES_OF_AN_OPERATION_MIN * len(operations)
    never_served = operations - report.served
    assert len(never_served) <= NEVER_SERVED_SHARE_MAX * len(operations), never_served
    refused = {
        (each.operation, each.error["param"]): f"{each.operation}: {each.error['message']} {each.sent}"
        for each in report.refused_though_valid(SHAPE_CODES)
        if each.error["param"] not in OF_SEVERAL_FIELDS
        and not any(rule in each.error["message"] for rule in RULES_BEYOND_A_SCHEMA)
    }
    assert not refused, "\n".join(["the document takes these for valid:", *refused.values()])
