"""Answers follow their schema: generated schemas of all enforced keywords, on the real engine with hot sampling."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import ValidationError
from local_engine import LocalEngine
from promised_schemas import SCHEMAS, require_valid

from finpool.serving.engine.schema_keywords import LLAMA_CPP, first_unenforced
from finpool.serving.errors import EngineRefused

EXAMPLES_ASKED = os.environ.get("FINPOOL_TEST_SCHEMAS")
EXAMPLES = int(EXAMPLES_ASKED or "60")
"""The schemas of a run. The short run draws the same ones each time; a longer one, by the variable, draws new ones."""


def test_an_answer_follows_every_keyword_of_its_schema(local_engine: LocalEngine) -> None:
    ended: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=EXAMPLES_ASKED is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(schema=SCHEMAS, number=st.integers(0, 2**31))
    def holds(schema: Any, number: int) -> None:
        assert first_unenforced(schema, LLAMA_CPP) is None
        said = local_engine.answer(asked(schema, number)).choices[0]
        if said.finish == "stop":
            ended.append(said.text)
            try:
                require_valid(said.text, schema)
            except (ValueError, ValidationError) as error:
                raise AssertionError(f"{said.text!r} breaks {schema}: {error}") from error

    holds()
    assert len(ended) >= EXAMPLES // 3, "answers that their length cuts say little"


def test_an_answer_that_leaves_its_schema_ends_with_an_error(local_engine: LocalEngine) -> None:
    # No multiple below zero can be written, and only the merged schema shows that there is none above it.
    schema = {
        "type": "array",
        "items": {"allOf": [{"type": "integer", "maximum": -1}, {"multipleOf": 2}]},
        "minItems": 1,
    }
    with pytest.raises(EngineRefused, match="hold the answer to its schema"):
        local_engine.answer(asked(schema, 1))


def asked(schema: Any, number: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "Answer in JSON."}],
        "max_tokens": 150,
        "temperature": 1.5,
        "seed": number,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
