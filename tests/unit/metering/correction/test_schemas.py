"""The accepted bodies of corrections and of decisions about lost spools."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from finpool.metering.correction.schemas import REASON_LENGTH_MAX, NewCorrection
from finpool.metering.lost_spool.schemas import LostSpoolBody

BODIES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (NewCorrection, {"input_tokens": 1, "output_tokens": 1}),
    (LostSpoolBody, {"replica_id": "a", "spool_id": f"spool_{'0' * 24}", "decision": "released"}),
]


@pytest.mark.parametrize(("model", "fields"), BODIES)
def test_a_reason_may_be_as_long_as_the_document_says(model: type[BaseModel], fields: dict[str, Any]) -> None:
    assert model.model_json_schema()["properties"]["reason"]["maxLength"] == REASON_LENGTH_MAX
    model.model_validate({**fields, "reason": "x" * REASON_LENGTH_MAX})
    with pytest.raises(ValidationError, match="at most 500 characters"):
        model.model_validate({**fields, "reason": "x" * (REASON_LENGTH_MAX + 1)})


@pytest.mark.parametrize(("model", "fields"), BODIES)
def test_a_reason_holds_no_invisible_character(model: type[BaseModel], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="invisible"):
        model.model_validate({**fields, "reason": "a\u200bb"})
