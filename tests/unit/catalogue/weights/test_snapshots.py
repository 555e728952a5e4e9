"""Models of several files on this machine: exactly the declared ones, or the model is not served."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from fake_hub import Hub
from model_declarations import vllm_declaration

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.weights.service import ensure_weights, snapshot_location, weights_present
from finpool.kernel.settings import Settings

CONTENT = {
    "config.json": b"{}",
    "model.safetensors": (2).to_bytes(8, "little") + b"{}weights",
    "chat_template.jinja": b"hello",
}


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
    model = model_in(directory)
    told: list[str] = []
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


def test_a_pickle_is_refused_whatever_it_is_called_and_whatever_its_hash(directory: Path, settings: Settings) -> None:
    content = pickle.dumps({"weights": [1, 2, 3]})
    (directory / "model.safetensors").write_bytes(content)
    files = {**{name: sha256(each) for name, each in CONTENT.items()}, "model.safetensors": sha256(content)}
    weights = {"source": "directory", "path": str(directory), "files": files}
    with pytest.raises(WeightsUnavailable, match="can run code"):
        ensure_weights(Model.model_validate(vllm_declaration(weights=weights)), settings, quiet)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path, settings: Settings) -> None:
    model = model_in(tmp_path / "nowhere")
    assert not weights_present(model, settings)
    with pytest.raises(WeightsUnavailable, match="are not at"):
        ensure_weights(model, settings, quiet)


def with_hub(settings: Settings, hub: Hub) -> Settings:
    """Let the hub have the model's files; returns the settings that name it."""
    hub.others = {f"/bank/base/resolve/v1/{name}": content for name, content in CONTENT.items()}
    return settings.model_copy(update={"hub_url": f"http://127.0.0.1:{hub.server_port}"})


def model_from_hub() -> Model:
    files = {name: sha256(content) for name, content in CONTENT.items()}
    weights = {"source": "repository", "repository": "bank/base", "revision": "v1", "files": files}
    return Model.model_validate(vllm_declaration(weights=weights))


def test_a_repository_is_fetched_file_by_file_goes_on_where_it_broke_off_and_is_fetched_once(
    hub: Hub, settings: Settings
) -> None:
    settings = with_hub(settings, hub)
    hub.breaks_off_at = 1
    fetched = ensure_weights(model_from_hub(), settings, quiet)
    assert {each.name: each.read_bytes() for each in fetched.iterdir()} == CONTENT
    # One more request than files: for the rest of the one that broke off.
    assert len(hub.ranges) == len(CONTENT) + 1
    assert ensure_weights(model_from_hub(), settings, quiet) == fetched
    assert len(hub.ranges) == len(CONTENT) + 1


def test_a_hubs_file_that_is_not_the_declared_one_is_refused_and_not_kept(hub: Hub, settings: Settings) -> None:
    settings = with_hub(settings, hub)
    hub.others["/bank/base/resolve/v1/config.json"] = b"[]"
    with pytest.raises(WeightsUnavailable, match="SHA-256"):
        ensure_weights(model_from_hub(), settings, quiet)
    assert not any(each.read_bytes() == b"[]" for each in settings.weights_path.rglob("*") if each.is_file())
