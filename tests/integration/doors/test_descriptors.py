"""A real door with few file descriptors: half-open connections use up none of those that others need."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from held_door import HeldDoor, status_of
from waiting import until

from finpool.apps.connection import descriptors
from finpool.kernel.errors import ConfigurationError

OPEN_FILES = 192
FITTING = (OPEN_FILES - descriptors.DESCRIPTORS_KEPT) // descriptors.DESCRIPTORS_OF_A_CONNECTION


@pytest.fixture
def door_with_few_files(tmp_path: Path, free_port: int) -> Iterator[HeldDoor]:
    """Run the operators' door in a process of its own; it needs no database for a refusal."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key_pepper").write_text("p" * 64)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("FINPOOL_")},
        "FINPOOL_HOME": str(tmp_path),
        "FINPOOL_PORT": str(free_port - 1),
        "FINPOOL_OPERATOR_DATABASE_URL": "postgresql://127.0.0.1:1/none",
    }
    serve = [sys.executable, "-m", "finpool.cli.main", "serve", "operator"]
    command = ["sh", "-c", f'ulimit -n {OPEN_FILES} && exec "$@"', "sh", *serve]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            yield HeldDoor(free_port)
        finally:
            run.kill()


async def answers(door: HeldDoor, path: str, status: int) -> bool:
    return status_of(await door.ask(path, "127.0.0.9")) == status


async def test_a_door_with_few_descriptors_answers_beside_more_half_open_connections(
    door_with_few_files: HeldDoor,
) -> None:
    door = door_with_few_files
    await until(lambda: answers(door, "/healthz", 200), "the door does not answer")
    crowd = [await door.half_open(f"127.0.1.{number % 8 + 1}") for number in range(2 * OPEN_FILES)]
    for _ in range(5):
        assert await answers(door, "/healthz", 200)
        assert await answers(door, "/v1/tenants", 401)
    await until(lambda: sum(not reader.at_eof() for reader in crowd) <= FITTING, "too many connections stay open")
    await door.close()


@pytest.mark.parametrize(
    ("limits", "fitting", "raised"),
    [
        ((1024, 1024), 448, None),
        ((1024, 4096), 1984, 4096),
        ((1024, 1_048_576), 2048, 4224),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 2048, None),
        ((65_536, 65_536), 2048, None),
    ],
)
def test_a_door_raises_its_limit_as_far_as_it_may_and_takes_the_connections_that_fit(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], fitting: int, raised: int | None
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, found: set_to.append(found))
    assert descriptors.connections_within_limit(2048) == fitting
    assert set_to == ([] if raised is None else [(raised, limits[1])])


def test_a_door_without_room_for_a_connection_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(ConfigurationError, match="the limit of open files is 64: raise it to 4224"):
        descriptors.connections_within_limit(2048)
