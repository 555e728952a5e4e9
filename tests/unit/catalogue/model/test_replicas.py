"""How many replicas an engine is declared with, and what of it is refused."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from model_declarations import CPU_ENGINE, CUDA_ENGINE, vllm_declaration
from pydantic import ValidationError

from finpool.catalogue.model.engine import PoolEngine
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.version.schemas import Version, VersionState, declaration_of

LLAMACPP: dict[str, Any] = {"name": "llamacpp", "slots": 4, "threads": 2}
ENGINES = (LLAMACPP, CPU_ENGINE, CUDA_ENGINE)


def declared(engine: dict[str, Any]) -> Model:
    if engine["name"] == "vllm":
        return Model.model_validate(vllm_declaration(engine=engine))
    shipped = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
    return Model.model_validate({**shipped.model_dump(mode="json"), "engine": engine})


def engine_of(engine: dict[str, Any], **changes: Any) -> PoolEngine:
    made = declared({**engine, **changes}).engine
    assert isinstance(made, PoolEngine)
    return made


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_has_one_replica_unless_it_says_otherwise(engine: dict[str, Any]) -> None:
    made = engine_of(engine)
    assert (made.replicas_min, made.replicas_max, made.replicas_first, made.may_sleep) == (1, 1, 1, False)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_may_have_none_and_is_then_still_started_with_one(engine: dict[str, Any]) -> None:
    made = engine_of(engine, replicas_min=0, replicas_max=4, idle_seconds=60, cold_start="refuse")
    assert (made.replicas_max, made.replicas_first, made.may_sleep) == (4, 1, True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replicas_min": 3, "replicas_max": 2}, "replicas_min is above replicas_max"),
        ({"replicas_min": 0, "replicas_max": 0}, "replicas_max"),
        ({"replicas_min": -1}, "replicas_min"),
        ({"replicas_max": 65}, "replicas_max"),
        ({"idle_seconds": 9}, "idle_seconds"),
        ({"idle_seconds": 90_000}, "idle_seconds"),
        ({"cold_start": "hope"}, "cold_start"),
    ],
)
def test_replicas_that_cannot_be_are_refused(engine: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        declared({**engine, **changes})


def version(model: Model, **changes: Any) -> Version:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    held = Version(
        model.id,
        model.version,
        declaration_of(model),
        model.weights_sha256,
        model.licence,
        VersionState.SERVING,
        *("a person", at, None, None, None, "a person", at, at),
    )
    return replace(held, **changes)


def test_a_version_written_before_replicas_could_be_declared_is_still_the_same_version() -> None:
    model = declared(LLAMACPP)
    written = declaration_of(model)
    before = version(model, declaration={**written, "engine": LLAMACPP})
    assert before.declares(model, model)
    assert not before.declares(declared({**LLAMACPP, "replicas_max": 2}), model)
    assert not version(model, declaration={**written, "engine": {"name": "gone"}}).declares(model, model)
