"""The doctor names each thing that would keep the platform from starting, in one line that says what to do."""

import random
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from finpool.installation.doctor import doctor
from finpool.installation.doctor.check import Check
from finpool.installation.doctor.doctor import examine
from finpool.installation.home.home import Home
from finpool.installation.home.secret_files import POSTGRES_SECRET_NAMES, SECRET_NAMES, ensure_secret
from finpool.kernel.settings import Settings

DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A machine that is large enough, with free ports."""
    monkeypatch.setattr(doctor, "available_memory_bytes", lambda: 8_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(0, 0, 50_000_000_000))
    return Settings(home=tmp_path / "home", port=free_block())


def free_block() -> int:
    """Return a port with which PORT, +1, +2 and +10 are free just now."""
    while True:
        # Below the ports that the system hands out to outgoing connections, which would take one in between.
        port = random.randrange(10_000, 30_000)
        if all(is_free(port + offset) for offset in (0, 1, 2, 10)):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def failed(settings: Settings) -> list[Check]:
    return [check for check in examine(settings) if not check.ok]


@pytest.fixture
def installed(settings: Settings) -> Home:
    """A home that was started before: marker, secrets and a complete data directory."""
    home = Home(settings.home)
    home.prepare()
    for name in (*SECRET_NAMES, *POSTGRES_SECRET_NAMES):
        ensure_secret(home.root / "secrets", name)
    (home.postgres / "global").mkdir(parents=True)
    (home.postgres / "global" / "pg_control").touch()
    (home.postgres / "PG_VERSION").write_text("18\n")
    return home


def test_a_fresh_machine_is_fit(settings: Settings) -> None:
    assert failed(settings) == []
    assert not settings.home.exists()


def test_a_stopped_installation_is_fit(settings: Settings, installed: Home) -> None:
    assert failed(settings) == []


def test_a_taken_port_is_named_with_what_needs_it(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.port + 1)):
        (check,) = failed(settings)
    assert f"another program uses port {settings.port + 1}, which operator needs" in check.detail


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "models.bank.example"])
def test_an_address_of_the_network_is_refused(settings: Settings, host: str) -> None:
    (check,) = failed(settings.model_copy(update={"host": host}))
    assert f"FINPOOL_HOST={host} would open the doors" in check.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_an_address_of_this_machine_alone_is_fine(settings: Settings, host: str) -> None:
    assert failed(settings.model_copy(update={"host": host})) == []


def test_a_full_disk_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(0, 0, 1_000_000_000))
    (check,) = failed(settings)
    assert check.detail.startswith("1.0 GB free")
    assert "3.0 GB are needed" in check.detail


def test_an_installation_needs_less_disk_than_a_first_start(
    settings: Settings, installed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(0, 0, 1_000_000_000))
    assert failed(settings) == []


def test_too_little_memory_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "available_memory_bytes", lambda: 1_000_000_000)
    (check,) = failed(settings)
    assert "1.0 GB of memory available, 4 GB are needed" in check.detail


def test_an_interrupted_first_start_is_found(settings: Settings, installed: Home) -> None:
    (installed.postgres / "PG_VERSION").unlink()
    (check,) = failed(settings)
    assert "is half-written" in check.detail


def test_a_directory_of_another_release_is_found(settings: Settings, installed: Home) -> None:
    installed.version.write_text("99\n")
    (check,) = failed(settings)
    assert "state format '99'" in check.detail


def test_a_path_with_a_space_is_found(settings: Settings, tmp_path: Path) -> None:
    (check,) = failed(settings.model_copy(update={"home": tmp_path / "my platform"}))
    assert "holds a space" in check.detail


def test_a_directory_of_something_else_is_found(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "thesis.txt").touch()
    (check,) = failed(settings)
    assert "thesis.txt" in check.detail


def test_a_file_in_place_of_the_directory_is_found(settings: Settings) -> None:
    settings.home.write_text("")
    (check,) = failed(settings)
    assert "is a file" in check.detail


@pytest.mark.parametrize("name", ["key_pepper", "postgres_superuser"])
def test_a_lost_secret_is_never_replaced_in_silence(settings: Settings, installed: Home, name: str) -> None:
    (installed.root / "secrets" / name).unlink()
    (check,) = failed(settings)
    assert f"{name} is missing" in check.detail
    assert "restore it from a backup" in check.detail


def test_a_secret_that_others_can_read_is_found(settings: Settings, installed: Home) -> None:
    (installed.root / "secrets" / "engine_token").chmod(0o644)
    (check,) = failed(settings)
    assert "chmod 600" in check.detail


def test_a_garbled_demo_env_is_found(settings: Settings, installed: Home) -> None:
    installed.demo_env.write_text("BANK_A")
    (check,) = failed(settings)
    assert "line 1" in check.detail


def test_a_broken_catalogue_is_found(settings: Settings, tmp_path: Path) -> None:
    (check,) = failed(settings.model_copy(update={"catalogue_dir": tmp_path / "nothing"}))
    assert check.name == "catalogue"
