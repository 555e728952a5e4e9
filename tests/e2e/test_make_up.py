"""The steps of a newcomer and an operator on one machine: up, status, doctor, down, and up again.

The newcomer has followed the README to its end, `make down`; test_readme.py states what that left behind.
"""

import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, Installations
from readme_transcript import Transcript

MEMORY_BYTES_MAX = 4_000_000_000
PROCESSES = ("inference", "operator", "regulator", "worker", "pool", "postgres")


@dataclass(frozen=True)
class Resumed:
    """The README's installation before and after a further `up`: the demo's keys, and the usage of bank A."""

    second_down: dict[str, str]
    keys_before: dict[str, str]
    keys_after: dict[str, str]
    usage_before: dict[str, Any]
    usage_after: dict[str, Any]


@pytest.fixture(scope="session")
def resumed(transcript: Transcript, installations: Installations) -> Resumed:
    """Bring the README's installation up again, and share it with the files that follow."""
    stopped = transcript.installation
    second_down, keys_before = stopped.json("down"), stopped.demo_env
    installations.share(stopped)
    running = installations.shared()
    (usage_before,) = json.loads(transcript.output("finpool usage show"))["data"]
    return Resumed(second_down, keys_before, running.demo_env, usage_before, usage_of_bank_a(running))


@pytest.fixture(scope="module")
def installation(resumed: Resumed, installations: Installations) -> Installation:
    """The README's installation, which runs again."""
    return installations.shared()


def ready(states: list[dict[str, Any]]) -> dict[str, bool]:
    return {state["name"]: state["ready"] for state in states}


def resident_bytes(process_ids: list[int]) -> int:
    """Return the memory of these processes, each shared page counted once."""
    total = 0
    for process_id in process_ids:
        try:
            rollup = Path(f"/proc/{process_id}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def test_down_stops_everything_and_a_further_down_finds_nothing_to_stop(
    transcript: Transcript, resumed: Resumed
) -> None:
    assert transcript.processes_left == []
    assert transcript.ports_left == []
    assert resumed.second_down == dict.fromkeys(PROCESSES, "not running")


def test_a_further_up_has_the_same_keys_and_data(installation: Installation, resumed: Resumed) -> None:
    assert resumed.keys_after == resumed.keys_before
    # The one request more is the completion that `up` itself asks for.
    assert resumed.usage_after["requests"] == resumed.usage_before["requests"] + 1
    assert resumed.usage_after["output_tokens"] > resumed.usage_before["output_tokens"]
    verified = installation.json("audit", "verify")
    assert verified["entries"] > 0
    assert verified["first_bad_seq"] is None


def test_everything_is_ready_after_up(installation: Installation) -> None:
    states = ready(installation.json("status"))
    assert states == dict.fromkeys(PROCESSES, True)


def test_the_demo_banks_are_as_declared(installation: Installation) -> None:
    assert installation.json("plan") == {"changes": [], "undeclared": []}
    assert installation.json("apply")["changes"] == []
    assert {tenant["id"] for tenant in installation.json("tenant", "list")} == {"bank-a", "bank-b"}


def test_the_credentials_are_for_their_owner_only(installation: Installation) -> None:
    assert (installation.home / "demo.env").stat().st_mode & 0o777 == 0o600
    assert (installation.home / "secrets").stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in (installation.home / "secrets").iterdir()}
    assert modes == {0o600}
    expected = {"FINPOOL_BASE_URL", "FINPOOL_OPERATOR_URL", "FINPOOL_REGULATOR_URL", "BANK_A_KEY", "BANK_B_KEY"}
    assert set(installation.demo_env) == expected | {"OPERATOR_TOKEN", "REGULATOR_TOKEN"}
    assert installation.demo_env["FINPOOL_BASE_URL"] == f"http://127.0.0.1:{installation.port}/v1"


def test_nothing_that_it_wrote_is_open_to_other_users(installation: Installation) -> None:
    home = installation.home
    # Nobody else reaches the files below Postgres's directory.
    written = [path for path in home.rglob("*") if home / "postgres" not in path.parents and not path.is_symlink()]
    assert {home / "spool", home / "run", home / "log" / "pool.log", home / "postgres"} <= set(written)
    opened = {path.name: oct(path.stat().st_mode) for path in written if path.stat().st_mode & 0o077}
    assert opened == {}
    assert home.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)


def test_no_credential_is_in_any_log(installation: Installation) -> None:
    secrets = [path.read_text().strip() for path in (installation.home / "secrets").iterdir()]
    secrets += [value for name, value in installation.demo_env.items() if name.endswith(("KEY", "TOKEN"))]
    for log in (installation.home / "log").iterdir():
        text = log.read_text(errors="replace")
        assert not [secret[:8] for secret in secrets if secret in text], log.name


def test_a_second_up_resumes_with_the_same_keys_and_processes(installation: Installation) -> None:
    before = installation.demo_env, lasting(installation.json("status"))
    answer = installation.json("up")
    assert answer["answer"]
    assert (installation.demo_env, lasting(installation.json("status"))) == before


def lasting(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return states without what changes from moment to moment."""
    moving = ("records_waiting", "background")
    return [{name: value for name, value in state.items() if name not in moving} for state in states]


def test_the_doctor_finds_nothing_wrong_with_a_running_installation(installation: Installation) -> None:
    assert all(check["ok"] for check in installation.json("doctor"))


def test_all_of_it_fits_into_four_gigabytes(installation: Installation) -> None:
    assert resident_bytes(installation.processes()) < MEMORY_BYTES_MAX


def test_a_taken_port_is_one_clear_line_and_nothing_is_started(installations: Installations) -> None:
    other = installations.new()
    with socket.create_server(("127.0.0.1", other.port + 1)):
        refused = other.finpool("up")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert f"another program uses port {other.port + 1}, which operator needs" in line
    assert list(other.home.iterdir()) == []


def test_up_brings_back_what_was_killed(installation: Installation) -> None:
    keys = installation.demo_env
    processes = {state["name"]: state["pid"] for state in installation.json("status")}
    for name in ("operator", "worker"):
        os.kill(processes[name], signal.SIGKILL)
    states = ready(installation.json("status", exit_code=1))
    assert {name for name, is_ready in states.items() if not is_ready} == {"operator", "worker"}
    installation.json("up")
    assert all(ready(installation.json("status")).values())
    assert installation.demo_env == keys


def usage_of_bank_a(installation: Installation) -> dict[str, Any]:
    groups = installation.json("usage", "show", "--from", "0")["data"]
    usage: dict[str, Any] = next(group for group in groups if group["tenant_id"] == "bank-a")
    return usage
