"""Models of several files on this machine: exactly the declared ones, or the model is not served."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from model_declarations import vllm_declaration

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.schemas import Model
from finpool.catalogue.weights_service import ensure_weights, snapshot_location, weights_present
from finpool.kernel.settings import Settings

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights", "chat_template.jinja": b"hello"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for name, content in CONTENT.items():
        (made / name).write_bytes(content)
    return made


def model_in(directory: Path) -> Model:
    files = {name: sha256(content) for name, content in CONTENT.items()}
    return Model.model_validate(
        vllm_declaration(weights={"source": "directory", "path": str(directory), "files": files})
    )


def quiet(line: str) -> None:
    pass


def test_a_directory_is_used_where_it_is_and_verified_once(directory: Path, settings: Settings) -> None:
    model, told = model_in(directory), []
    assert weights_present(model, settings)
    assert ensure_weights(model, settings, told.append) == directory == snapshot_location(model, settings)
    assert len(told) == len(CONTENT)
    ensure_weights(model, settings, told.append)
    assert len(told) == len(CONTENT)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda directory: (directory / "config.json").write_bytes(b"[]"), "SHA-256"),
        (lambda directory: (directory / "config.json").unlink(), "lack config.json"),
        (lambda directory: (directory / "pytorch_model.bin").write_bytes(b"x"), "does not declare: pytorch_model.bin"),
        (lambda directory: (directory / "model.py").symlink_to("/nowhere"), "does not declare: model.py"),
    ],
)
def test_a_file_that_is_another_one_missing_or_undeclared_is_refused(
    directory: Path, settings: Settings, spoil: Any, words: str
) -> None:
    ensure_weights(model_in(directory), settings, quiet)
    spoil(directory)
    with pytest.raises(WeightsUnavailable, match=words):
        ensure_weights(model_in(directory), settings, quiet)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path, settings: Settings) -> None:
    model = model_in(tmp_path / "nowhere")
    assert not weights_present(model, settings)
    with pytest.raises(WeightsUnavailable, match="are not at"):
        ensure_weights(model, settings, quiet)
