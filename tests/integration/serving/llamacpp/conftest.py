"""A real engine in this process for the tests of this folder."""

from pathlib import Path
from typing import Any

import pytest
from local_engine import LocalEngine

from finpool.catalogue.model.service import Catalogue, default_directory


@pytest.fixture(scope="session")
def local_engine(shallow_weights: dict[str, Any]) -> LocalEngine:
    """The shallow model on llama.cpp."""
    return LocalEngine(Catalogue.load(default_directory()).get("smollm2-135m-instruct"), Path(shallow_weights["path"]))
