"""The tools that a model may call, the choice among them, and the format of its answer."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Discriminator, Field, PrivateAttr, Tag, ValidationInfo, field_validator

from finpool.gateway.request.messages import NO_CUSTOM_TOOLS
from finpool.gateway.request.options import (
    NotGivenIfEmpty,
    RefusedOption,
    RefusedWords,
    RequestModel,
    ServedOption,
    fault,
    plain,
)
from finpool.gateway.request.processor_time import require_time_left
from finpool.gateway.request.schema_bounds import require_bounded_schema
from finpool.gateway.request.tool_schemas import function_for_engines, require_any_schema

TOOLS_MAX = 128
"""OpenAI's limit."""

DESCRIPTION_CHARACTERS_MAX = 32_768

STRICT_SCHEMAS_BYTES_MAX = 65_536
"""All schemas of strict tools together; each has its own bounds as well."""

NO_SUBSETS = "send only the tools that the model may use"

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Description = Annotated[str | None, Field(max_length=DESCRIPTION_CHARACTERS_MAX)]


def _require(check: Callable[[dict[str, Any]], None], schema: dict[str, Any]) -> None:
    require_time_left()
    try:
        check(schema)
    except ValueError as error:
        raise fault(str(error)) from error


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    _require(require_bounded_schema, schema)
    return schema


Schema = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""A JSON schema within the limits of `schema_bounds`, so that an engine compiles it quickly."""


class Function(RequestModel):
    """A function that the model may call."""

    name: FunctionName
    description: Description = None
    strict: Annotated[bool | None, ServedOption("true bounds the schema as that of an answer")] = None
    parameters: Annotated[dict[str, Any] | None, NotGivenIfEmpty, ServedOption("any JSON schema without `strict`")] = (
        None
    )

    @field_validator("parameters")
    @classmethod
    def _is_bounded(cls, schema: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if schema is not None:
            _require(require_bounded_schema if info.data.get("strict") else require_any_schema, schema)
        return schema


class Tool(RequestModel):
    """A tool that the model may use."""

    type: Annotated[Literal["function"], RefusedWords({"custom": NO_CUSTOM_TOOLS})]
    function: Function
    custom: Annotated[None, RefusedOption(NO_CUSTOM_TOOLS)] = None

    _for_engines: dict[str, Any] = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        """Bound the parameters now: a large body is parsed in a thread, and the rest of a request is not."""
        require_time_left()
        function = plain(self.function)
        self._for_engines = function if self.function.strict else function_for_engines(function)

    def for_engines(self) -> dict[str, Any]:
        """Return the tool as engines get it."""
        return {"type": "function", "function": self._for_engines}


def _require_own_names(tools: list[Tool]) -> list[Tool]:
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.function.name in seen:
            raise fault(f"two tools have the name '{tool.function.name}'", index, "function", "name")
        seen.add(tool.function.name)
    return tools


def _require_bounded_together(tools: list[Tool]) -> list[Tool]:
    """Raise a fault for strict tools whose schemas are too large together; an engine compiles all of them."""
    size = sum(len(orjson.dumps(each.function.parameters)) for each in tools if each.function.strict)
    if size > STRICT_SCHEMAS_BYTES_MAX:
        raise fault(f"the schemas of strict tools may have {STRICT_SCHEMAS_BYTES_MAX} bytes together")
    return tools


Tools = Annotated[
    Annotated[
        list[Tool],
        Field(max_length=TOOLS_MAX, fail_fast=True),
        AfterValidator(_require_own_names),
        AfterValidator(_require_bounded_together),
    ]
    | None,
    NotGivenIfEmpty,
]


class NamedFunction(RequestModel):
    """Names one function."""

    name: FunctionName


class NamedTool(RequestModel):
    """Names the one tool that the model must use."""

    type: Annotated[
        Literal["function"],
        RefusedWords({"custom": NO_CUSTOM_TOOLS, "allowed_tools": NO_SUBSETS}),
    ]
    function: NamedFunction
    custom: Annotated[None, RefusedOption(NO_CUSTOM_TOOLS)] = None
    allowed_tools: Annotated[None, RefusedOption(NO_SUBSETS)] = None


def _kind_of(choice: Any) -> str | None:
    if isinstance(choice, str):
        return "<word>"
    return "<tool>" if isinstance(choice, dict) else None


ToolChoice = Annotated[
    Annotated[
        Annotated[Literal["none", "auto", "required"], Tag("<word>")] | Annotated[NamedTool, Tag("<tool>")],
        Discriminator(
            _kind_of,
            custom_error_type="whole",
            custom_error_message="it must be 'none', 'auto', 'required' or an object that names a function",
        ),
    ]
    | None,
    NotGivenIfEmpty,
]


class JsonSchema(RequestModel):
    """The schema an answer must follow."""

    name: FunctionName
    description: Description = None
    schema_: Schema = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(RequestModel):
    """Free text, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


def _agreeing(format_: ResponseFormat) -> ResponseFormat | None:
    if format_.type == "json_schema" and format_.json_schema is None:
        raise fault("the type 'json_schema' needs it", "json_schema")
    if format_.type != "json_schema" and format_.json_schema is not None:
        raise fault("it goes with the type 'json_schema' only", "json_schema")
    return None if format_.type == "text" else format_


AnswerFormat = Annotated[Annotated[ResponseFormat, AfterValidator(_agreeing)] | None, NotGivenIfEmpty]
"""Free text is OpenAI's default, and counts as not given."""
