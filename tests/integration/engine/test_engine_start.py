"""A pool that cannot start says so in one line, at once, and leaves nothing running."""

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from finpool.catalogue.model.service import default_directory
from finpool.installation.postgres import EmbeddedPostgres

UNREACHABLE = "postgresql://finpool_pool:none@127.0.0.1:1/none"
GGUF = b"GGUF\x03\0\0\0 and nothing else"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with secrets and one declared model, whose weights are only a small file."""
    (tmp_path / "secrets").mkdir()
    for name in ("engine_token", "ray_token"):
        (tmp_path / "secrets" / name).write_text(secrets.token_hex(32))
    weights = tmp_path / "small.gguf"
    weights.write_bytes(GGUF)
    declaration = yaml.safe_load((default_directory() / "smollm2-135m-instruct.yaml").read_text())
    digest = hashlib.sha256(GGUF).hexdigest()
    declaration["weights"] = {"source": "path", "path": str(weights), "sha256": digest}
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.yaml").write_text(yaml.safe_dump(declaration))
    return tmp_path


def start(home: Path, port: int = 28_000, database_url: str = UNREACHABLE) -> str:
    """Start the pool, which must refuse before it starts anything, and return its reason."""
    ended = run(home, port, database_url)
    assert ended.stderr == ""
    return reason_of(ended)


def reason_of(ended: "subprocess.CompletedProcess[str]") -> str:
    assert ended.returncode == 1
    told = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    (refusal,) = [line for line in told if line["event"] == "cannot start"]
    reason: str = refusal["reason"]
    return reason


def run(home: Path, port: int, database_url: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FINPOOL_", "RAY_"))}
    return subprocess.run(
        [sys.executable, "-m", "finpool.installation.pool.process"],
        env={
            **inherited,
            "FINPOOL_HOME": str(home),
            "FINPOOL_CATALOGUE_DIR": str(home / "models"),
            "FINPOOL_PORT": str(port),
            "FINPOOL_POOL_DATABASE_URL": database_url,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_taken_port_is_named_with_the_setting_that_moves_it(home: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken: int = listener.getsockname()[1]
        reason = start(home, port=taken - 10)
    assert f"port {taken}" in reason
    assert "FINPOOL_PORT" in reason


@pytest.mark.parametrize("name", ["engine_token", "ray_token"])
def test_a_missing_or_weak_secret_is_named(home: Path, name: str) -> None:
    (home / "secrets" / name).write_text("weak")
    assert name in start(home)
    (home / "secrets" / name).unlink()
    assert name in start(home)


def test_weights_that_are_not_as_declared_are_named(home: Path, clean_postgres: EmbeddedPostgres) -> None:
    (home / "small.gguf").write_bytes(b"others")
    assert "SHA-256" in reason_of(run(home, 28_000, clean_postgres.urls["pool"]))


def test_a_wrong_declaration_is_named(home: Path) -> None:
    (home / "models" / "small.yaml").write_text("id: small\n")
    assert "small.yaml" in start(home)
