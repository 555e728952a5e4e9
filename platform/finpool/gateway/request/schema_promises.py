"""The promise of a schema: each keyword holds in every answer, or the request is refused by the keyword's name."""

from typing import Any

from finpool.catalogue.model.engine import VllmEngine
from finpool.catalogue.model.schemas import Model
from finpool.gateway.errors import UnsupportedParameter
from finpool.gateway.request.chat import ChatRequest
from finpool.gateway.request.combinations import may_choose
from finpool.serving.engine.schema_keywords import ENFORCED, VLLM_CHOSEN_CALL, Enforced, first_unenforced

NAME_CHARACTERS_MAX = 64


def require_enforced(model: Model, request: ChatRequest) -> None:
    """Raise `UnsupportedParameter` for a keyword that the model's engine does not enforce.

    That concerns the schema of an answer and those of strict tools. Other tools promise nothing.
    """
    if request.response_format is not None and request.response_format.json_schema is not None:
        _require(model, request.response_format.json_schema.schema_, "response_format.json_schema.schema")
    enforced = ENFORCED[type(model.engine)]
    if isinstance(model.engine, VllmEngine) and may_choose(request):
        enforced = VLLM_CHOSEN_CALL
    for index, tool in enumerate(request.tools or []):
        if tool.function.strict and tool.function.parameters is not None:
            _require(model, tool.function.parameters, f"tools[{index}].function.parameters", enforced)


def _require(model: Model, schema: dict[str, Any], param: str, enforced: Enforced | None = None) -> None:
    found = first_unenforced(schema, enforced or ENFORCED[type(model.engine)])
    if found is None:
        return
    for part in found.path:
        param += f"[{part}]" if isinstance(part, int) else f".{part[:NAME_CHARACTERS_MAX]}"
    raise UnsupportedParameter(
        f"'{param}' is not supported: the engine of the model '{model.id}' does not enforce {found.rule};"
        f" {found.advice}.",
        param=param,
    )
