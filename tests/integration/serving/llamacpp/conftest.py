"""A real engine in this process for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_engine import LocalEngine

from finpool.catalogue.model.service import Catalogue, default_directory


@pytest.fixture(scope="session")
def local_engine(shallow_weights: dict[str, Any]) -> Iterator[LocalEngine]:
    """The shallow model on llama.cpp."""
    model = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
    engine = LocalEngine(model, Path(shallow_weights["path"]))
    yield engine
    engine.close()
