"""State is written whole or not at all, and two commands never work on it at once."""

import os
from pathlib import Path

import pytest

from finpool.installation.home.home import Home, exclusive, local_settings, write_atomically
from finpool.installation.home.secret_files import ensure_secret, secret_fault
from finpool.installation.process.components import POOL, component_environment
from finpool.kernel.errors import ConfigurationError


def test_a_home_and_what_is_in_it_are_for_their_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o755)
    home.prepare()
    # Postgres runs as a user of its own when root starts it, and has to pass through.
    assert home.root.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    assert {each.stat().st_mode & 0o777 for each in (home.run, home.log)} == {0o700}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, "old", mode=0o600)
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \udcff", mode=0o600)
    assert path.read_text() == "old"


def test_the_second_of_two_commands_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with exclusive(home), pytest.raises(ConfigurationError, match="another `finpool up`"), exclusive(home):
        pass
    with exclusive(home):
        pass


def test_every_directory_means_the_same_to_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINPOOL_HOME", "state")
    monkeypatch.setenv("FINPOOL_WEIGHTS_DIR", "../weights")
    settings = local_settings()
    assert settings.home == tmp_path / "state"
    environment = component_environment(POOL, settings, {"pool": "postgresql://pool"})
    assert environment["FINPOOL_HOME"] == str(tmp_path / "state")
    assert environment["FINPOOL_WEIGHTS_DIR"] == str(tmp_path.parent / "weights")


def test_a_secret_is_made_once_and_stays(tmp_path: Path) -> None:
    first = ensure_secret(tmp_path / "secrets", "key_pepper")
    assert len(first) == 64
    assert ensure_secret(tmp_path / "secrets", "key_pepper") == first
    assert ensure_secret(tmp_path / "secrets", "engine_token") != first
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert secret_fault(tmp_path / "secrets" / "key_pepper") is None


def test_a_weak_or_readable_secret_is_found(tmp_path: Path) -> None:
    path = tmp_path / "key_pepper"
    write_atomically(path, "a" * 64, mode=0o600)
    assert "is weak" in str(secret_fault(path))
    path.unlink()
    ensure_secret(tmp_path, "key_pepper")
    path.chmod(0o644)
    assert "can be read by others" in str(secret_fault(path))
