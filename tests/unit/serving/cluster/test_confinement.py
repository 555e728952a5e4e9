"""What keeps Ray and its HAProxy to themselves on one machine."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings
from finpool.serving.cluster.environment import make_pool_directory, pool_environment
from finpool.serving.cluster.haproxy import confined

CONFIGURATION = """global
    stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8010
listen stats
  bind *:8404
"""


GUARD = (
    "    http-request deny deny_status 401 unless { path /-/healthz }"
    ' || { req.hdr(authorization) -m str "Bearer ${FINPOOL_HAPROXY_TOKEN}" }\n'
)


def test_listeners_on_all_interfaces_become_private_sockets_and_the_engines_port_asks_for_the_token() -> None:
    assert confined(CONFIGURATION, Path("/run/pool")) == (
        CONFIGURATION.replace("bind :9101", "bind unix@/run/pool/9101.sock mode 600")
        .replace("bind *:8404", "bind unix@/run/pool/8404.sock mode 600")
        .replace("mode 666", "mode 600")
        .replace("bind 127.0.0.1:8010\n", f"bind 127.0.0.1:8010\n{GUARD}")
    )


def test_a_configuration_whose_engines_port_would_stay_open_is_refused() -> None:
    with pytest.raises(ValueError, match="port of the engines"):
        confined(CONFIGURATION.replace("http_frontend", "engines"), Path("/run/pool"))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    return Settings(home=tmp_path / "home")


def test_the_pools_directory_is_private_and_new_at_every_start(settings: Settings) -> None:
    directory = make_pool_directory(settings)
    assert directory.stat().st_mode & 0o777 == 0o700
    (directory / "left behind").touch()
    assert make_pool_directory(settings) == directory
    assert not (directory / "left behind").exists()
    shutil.rmtree(directory)


def test_a_link_that_somebody_put_in_its_place_is_refused(settings: Settings, tmp_path: Path) -> None:
    directory = make_pool_directory(settings)
    shutil.rmtree(directory)
    directory.symlink_to(tmp_path)
    try:
        with pytest.raises(ConfigurationError, match="belongs to somebody else"):
            make_pool_directory(settings)
    finally:
        directory.unlink()


def test_a_temporary_directory_with_a_name_too_long_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp/" + "x" * 40)
    with pytest.raises(ConfigurationError, match="TMPDIR"):
        make_pool_directory(Settings(home=tmp_path))


def test_the_environment_names_the_token_file_and_never_the_token(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "engine_token").write_text("t" * 40)
    (secrets / "ray_token").write_text("r" * 40)
    environment = pool_environment(Settings(home=Path("relative"), secrets_dir=secrets), tmp_path)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(secrets / "ray_token")
    assert Path(environment["FINPOOL_HOME"]).is_absolute()
    assert not any("t" * 40 in value or "r" * 40 in value for value in environment.values())


def test_haproxy_lets_an_answer_go_on_for_as_long_as_an_engine_does_when_replicas_come_and_go(tmp_path: Path) -> None:
    for drain_seconds, expected in ((1, "120"), (900.5, "901")):
        environment = pool_environment(Settings(home=tmp_path, engine_drain_seconds=drain_seconds), tmp_path)
        assert environment["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] == expected


def test_every_variable_for_serve_is_one_that_this_version_of_serve_reads(tmp_path: Path) -> None:
    environment = pool_environment(Settings(home=tmp_path), tmp_path)
    ray = find_spec("ray")
    assert ray
    assert ray.origin
    sources = (Path(ray.origin).parent / "serve" / "_private").glob("*.py")
    read = "".join(each.read_text(encoding="utf-8") for each in sources)
    unknown = {name for name in environment if name.startswith("RAY_SERVE_") and f'"{name}"' not in read}
    assert not unknown
