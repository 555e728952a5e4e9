"""A file that could run code when it is loaded is never weights, under any name and with any hash."""

import hashlib
import json
import pickle
import zipfile
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.model.weights import Weights
from finpool.catalogue.weights.formats import require_safe_format
from finpool.catalogue.weights.service import ensure_weights
from finpool.kernel.settings import Settings

HEADER = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
SAFETENSORS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)


def zipped_pickle(directory: Path) -> bytes:
    """Return what PyTorch saves: a zip with a pickle in it."""
    file = directory / "saved"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))
    return file.read_bytes()


@pytest.mark.parametrize("name", ["a.bin", "a.pt", "a.pth", "a.ckpt", "a.pkl", "a.gguf.pkl", "a.zip", "gguf", ".gguf"])
def test_a_declaration_of_any_other_format_is_refused(name: str) -> None:
    for source in (
        {"source": "path", "path": f"/models/{name}"},
        {"source": "pypi", "package": "weights", "version": "1", "file": f"models/{name}"},
        {"source": "hub", "repository": "bank/small", "revision": "v1", "file": f"models/{name}"},
    ):
        with pytest.raises(ValidationError, match="should match pattern"):
            TypeAdapter(Weights).validate_python({**source, "sha256": "0" * 64})


@pytest.mark.parametrize("name", ["small.gguf", "small.safetensors"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_under_another_name_is_refused(tmp_path: Path, name: str, protocol: int) -> None:
    file = tmp_path / name
    file.write_bytes(pickle.dumps({"weight": list(range(1000))}, protocol=protocol))
    with pytest.raises(WeightsUnavailable, match="can run code"):
        require_safe_format("small", file)


@pytest.mark.parametrize("name", ["small.gguf", "small.safetensors"])
def test_a_zip_and_an_empty_file_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    for content in (zipped_pickle(tmp_path), b"", b"GGU", b"GGUF\x63\0\0\0", bytes(7), bytes(64)):
        file.write_bytes(content)
        with pytest.raises(WeightsUnavailable, match=f"{name} is not the format"):
            require_safe_format("small", file)


@pytest.mark.parametrize(
    "content",
    [
        (2**40).to_bytes(8, "little") + HEADER,
        (len(HEADER) + 1).to_bytes(8, "little") + HEADER,
        (2).to_bytes(8, "little") + b"[]" + bytes(4),
        (3).to_bytes(8, "little") + b"\xff{}",
    ],
)
def test_safetensors_with_a_header_that_is_none_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "small.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsUnavailable):
        require_safe_format("small", file)


def test_each_format_is_taken_under_its_own_name_only(tmp_path: Path) -> None:
    for name, content in (("a.safetensors", SAFETENSORS), ("a.gguf", b"GGUF\x03\0\0\0")):
        (tmp_path / name).write_bytes(content)
        require_safe_format("small", tmp_path / name)
    (tmp_path / "b.gguf").write_bytes(SAFETENSORS)
    with pytest.raises(WeightsUnavailable):
        require_safe_format("small", tmp_path / "b.gguf")


def test_a_matching_hash_does_not_make_a_pickle_weights(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(pickle.dumps({"weight": 1}))
    shipped = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
    weights = {"source": "path", "path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    model = shipped.model_validate({**shipped.model_dump(exclude={"weights"}), "weights": weights})
    for _ in range(2):  # A file that was verified before is looked at again.
        with pytest.raises(WeightsUnavailable, match="can run code"):
            ensure_weights(model, Settings(home=tmp_path / "home"), lambda _: None)
