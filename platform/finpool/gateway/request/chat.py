"""The chat completion request. Fields that are not declared here are refused, never passed on."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from finpool.catalogue.price.schemas import Tier
from finpool.gateway.request.schema_bounds import require_bounded_schema

TOP_LOGPROBS_MAX = 20
CHOICES_MAX = 4
STOPS_MAX = 4
TOOLS_MAX = 64
STOP_CHARACTERS_MAX = 256
METADATA_PAIRS_MAX = 16


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    require_bounded_schema(schema)
    return schema


Schema = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""A JSON schema within the limits of `schema_bounds`, so that an engine compiles it quickly."""

Stop = Annotated[str, Field(min_length=1, max_length=STOP_CHARACTERS_MAX)]
"""An empty stop would end every answer before its first character."""

MetadataName = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
FunctionName = Annotated[str, Field(min_length=1, max_length=64)]


class RequestModel(BaseModel):
    """Base of every part of a request: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(RequestModel):
    """A piece of text in a message; other kinds of content are refused."""

    type: Literal["text"]
    text: str


class FunctionCall(RequestModel):
    """The function that a model has called."""

    name: FunctionName
    arguments: str


class ToolCall(RequestModel):
    """A tool call in an assistant's earlier message."""

    id: str = Field(max_length=256)
    type: Literal["function"]
    function: FunctionCall


class Message(RequestModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = Field(None, max_length=64)
    tool_calls: list[ToolCall] | None = Field(None, max_length=TOOLS_MAX)
    tool_call_id: str | None = Field(None, max_length=256)
    # Clients send an answer back unchanged, with null here; an engine would drop any other value.
    refusal: None = None
    reasoning_content: None = None

    @model_validator(mode="after")
    def _has_content(self) -> "Message":
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("a message needs content")
        return self


class StreamOptions(RequestModel):
    """`include_usage` adds a final chunk with the usage."""

    include_usage: bool = False


class JsonSchema(RequestModel):
    """The schema an answer must follow."""

    name: FunctionName
    description: str | None = Field(None, max_length=1024)
    schema_: Schema = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(RequestModel):
    """Free text, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_belongs_to_its_type(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with type json_schema, and only with it")
        return self


class Function(RequestModel):
    """A function that the model may call."""

    name: FunctionName
    description: str | None = Field(None, max_length=1024)
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(RequestModel):
    """A tool that the model may use."""

    type: Literal["function"]
    function: Function


class NamedFunction(RequestModel):
    """Names one function."""

    name: FunctionName


class NamedTool(RequestModel):
    """Names the one tool that the model must use."""

    type: Literal["function"]
    function: NamedFunction


class ChatRequest(RequestModel):
    """OpenAI's chat completion request, with vLLM's `top_k`, `min_p`, `repetition_penalty` and `ignore_eos`.

    `user`, `safety_identifier`, `metadata` and the like are accepted for compatibility and not used.
    """

    model: str = Field(min_length=1, max_length=256)
    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, ge=0.1, le=2)
    n: int | None = Field(None, ge=1, le=CHOICES_MAX)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stop | Annotated[list[Stop], Field(max_length=STOPS_MAX)] | None = None
    ignore_eos: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=TOP_LOGPROBS_MAX)
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=TOOLS_MAX)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=512)
    metadata: Annotated[dict[MetadataName, MetadataValue], Field(max_length=METADATA_PAIRS_MAX)] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default", "flex"] | None = None

    @field_validator("tool_choice", "parallel_tool_calls")
    @classmethod
    def _needs_tools(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not info.data.get("tools"):
            raise ValueError(f"{info.field_name} needs tools")
        return value

    @model_validator(mode="after")
    def _fields_agree(self) -> "ChatRequest":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("give max_completion_tokens or max_tokens, not both")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream to be true")
        return self

    @property
    def tier(self) -> Tier:
        """The requested tier: `flex` is OpenAI's word for cheaper service that may wait."""
        return Tier.BATCH if self.service_tier == "flex" else Tier.STANDARD

    @property
    def choices(self) -> int:
        """The number of requested answers."""
        return self.n or 1

    @property
    def output_tokens_asked(self) -> int | None:
        """The requested longest answer, or None."""
        return self.max_completion_tokens or self.max_tokens

    def engine_body(self, output_tokens: int) -> dict[str, Any]:
        """Return the engine's request: the fields that steer generation, and none about the caller."""
        body = self.model_dump(by_alias=True, exclude_none=True, exclude=_NOT_FOR_ENGINES)
        body["max_tokens"] = output_tokens
        return body


_NOT_FOR_ENGINES = {
    "model",
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
}
