"""Declarations of models that embed or rank: no field that they lack, no option that engines lack."""

from typing import Any

import pytest
from model_declarations import CPU_ENGINE, vllm_declaration
from pooling_models import pooling_declaration
from pydantic import ValidationError
from remote_model import remote_declaration

from finpool.catalogue.model.schemas import Model

LLAMACPP = {"name": "llamacpp", "slots": 2, "threads": 1}
NO_OUTPUT = {"output_tokens_default": 0, "output_tokens_max": 0}


@pytest.mark.parametrize("kind", ["embedding", "rerank"])
def test_a_model_without_output_leaves_its_limits_out(kind: str) -> None:
    model = Model.model_validate(pooling_declaration("small", kind))
    assert not model.chats
    assert (model.output_tokens_default, model.output_tokens_max) == (0, 0)


def test_shorter_vectors_are_for_engines_that_give_them() -> None:
    vectors = {"kind": "embedding", "capabilities": ["dimensions"], **NO_OUTPUT}
    for declared in (vllm_declaration(), remote_declaration("http://127.0.0.1:1/v1")):
        assert Model.model_validate({**declared, **vectors}).capabilities == {"dimensions"}


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        (pooling_declaration("a", "embedding", output_tokens_max=5), "kind embedding has no output"),
        (
            pooling_declaration("a", "embedding", capabilities=["tools"]),
            "capabilities of kind embedding are dimensions",
        ),
        (pooling_declaration("a", "rerank", capabilities=["dimensions"]), "capabilities of kind rerank are none"),
        (pooling_declaration("a", "embedding", capabilities=["dimensions"]), "vectors of one length only"),
        (pooling_declaration("a", "embedding", engine={**LLAMACPP, "pooling": "rank"}), "pooling is rank for"),
        (pooling_declaration("a", "rerank", engine={**LLAMACPP, "query_prefix": "q: "}), "query_prefix is for"),
        (pooling_declaration("a", "embedding", engine={**LLAMACPP, "document_prefix": "p: "}), "document_prefix is"),
        (pooling_declaration("a", "rerank", engine={**LLAMACPP, "pooling": "mean"}), "pooling is rank for"),
        (
            pooling_declaration("a", "embedding", engine={**LLAMACPP, "scoring": "cosine"}),
            "scoring is for models of kind",
        ),
        (vllm_declaration(engine={**CPU_ENGINE, "pooling": "mean"}), "pooling is for models of kind"),
        (vllm_declaration(capabilities=["dimensions"]), "capabilities of kind general"),
        (vllm_declaration(**NO_OUTPUT), "1 <= output_tokens_default"),
    ],
)
def test_what_a_model_has_not_is_refused(declared: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Model.model_validate(declared)
