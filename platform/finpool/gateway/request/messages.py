"""The messages of a conversation, one class for each role."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag

from finpool.gateway.request.arguments import as_object
from finpool.gateway.request.options import (
    IgnoredOption,
    NotGivenIfEmpty,
    RefusedOption,
    RefusedWords,
    RequestModel,
    ServedOption,
    Untyped,
    is_not_given,
    plain,
)

MESSAGES_MAX = 1024
PARTS_MAX = 4096
TOOL_CALLS_MAX = 128
TOOL_CALL_ID_CHARACTERS_MAX = 256
CALLED_NAME_CHARACTERS_MAX = 256

TEXT_ONLY = "models take and give text only"
NO_CUSTOM_TOOLS = "only tools of type 'function' are served"

NotText = Annotated[None, RefusedOption(f"{TEXT_ONLY}; leave it out")]
Name = Annotated[
    Annotated[str, Field(max_length=64)] | None, IgnoredOption("the models' chat templates show no names of speakers")
]
Breakpoint = Annotated[None, RefusedOption("a tenant's prompt cache needs no breakpoints; leave it out")]


class TextPart(RequestModel):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Breakpoint = None

    def for_engines(self) -> dict[str, Any]:
        """Return the part as engines get it; a message may have thousands."""
        return {"type": "text", "text": self.text}


class ContentPart(TextPart):
    """A piece of a message's content; OpenAI knows images, audio and files besides."""

    type: Annotated[Literal["text"], RefusedWords(dict.fromkeys(("image_url", "input_audio", "file"), TEXT_ONLY))]
    image_url: NotText = None
    input_audio: NotText = None
    file: NotText = None


class RefusalPart(RequestModel):
    """The text with which an assistant refused to answer."""

    type: Literal["refusal"]
    refusal: str


def _kind_of(content: Any) -> str | None:
    if isinstance(content, str):
        return "<text>"
    return "<parts>" if isinstance(content, list) else None


_TEXT_OR_PARTS = Discriminator(
    _kind_of, custom_error_type="whole", custom_error_message="it must be a text or a list of content parts"
)
Content = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[
        Annotated[list[ContentPart], Field(min_length=1, max_length=PARTS_MAX, fail_fast=True)], Tag("<parts>")
    ],
    _TEXT_OR_PARTS,
]


def _as_text(part: RefusalPart) -> TextPart:
    return TextPart(type="text", text=part.refusal)


AssistantPart = Annotated[
    TextPart | Annotated[RefusalPart, AfterValidator(_as_text)],
    Field(discriminator="type"),
]
"""Models know no refusals, so they read one as text."""

AssistantContent = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[Annotated[list[AssistantPart], Field(max_length=PARTS_MAX, fail_fast=True)], Tag("<parts>")],
    _TEXT_OR_PARTS,
]


class FunctionCall(RequestModel):
    """The function that a model has called."""

    name: Annotated[str, Field(max_length=CALLED_NAME_CHARACTERS_MAX)]
    arguments: Annotated[
        str,
        AfterValidator(as_object),
        ServedOption('a text that is no JSON object reaches the model as `{"text": ...}`'),
    ]
    parsed_arguments: Untyped = None


class ToolCall(RequestModel):
    """A tool call in an assistant's earlier message."""

    id: Annotated[str, Field(max_length=TOOL_CALL_ID_CHARACTERS_MAX)]
    type: Annotated[Literal["function"], RefusedWords({"custom": NO_CUSTOM_TOOLS})]
    function: FunctionCall
    index: Untyped = None
    custom: Annotated[None, RefusedOption(NO_CUSTOM_TOOLS)] = None


class SpokenMessage(RequestModel):
    """A message that is nothing but text."""

    role: str
    content: Content

    def for_engines(self) -> dict[str, Any]:
        """Return the message as engines get it."""
        return {"role": self.role, "content": plain(self.content)}


class SystemMessage(SpokenMessage):
    """Instructions, in the role that chat templates know."""

    role: Literal["system"]
    name: Name = None


class DeveloperMessage(SpokenMessage):
    """Instructions, in OpenAI's newer word; models read them as a system message."""

    role: Annotated[Literal["developer"], ServedOption("models read it as `system`")]
    name: Name = None


class UserMessage(SpokenMessage):
    """A message of the user."""

    role: Literal["user"]
    name: Name = None


class AssistantMessage(RequestModel):
    """An earlier answer, with all fields in which official clients and this platform write one."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    tool_calls: Annotated[
        Annotated[list[ToolCall], Field(max_length=TOOL_CALLS_MAX, fail_fast=True)] | None,
        NotGivenIfEmpty,
        ServedOption(capability="tools"),
    ] = None
    refusal: Annotated[str | None, ServedOption("read as the content of a message without any")] = None
    name: Name = None
    audio: NotText = None
    function_call: Annotated[None, RefusedOption("it is OpenAI's older form of tool calls; send tool_calls")] = None
    annotations: Untyped = None
    parsed: Untyped = None
    reasoning: Annotated[Any, IgnoredOption("models are shown no earlier reasoning")] = None
    reasoning_content: Annotated[Any, IgnoredOption("models are shown no earlier reasoning")] = None

    def for_engines(self) -> dict[str, Any]:
        """Return the message as engines get it."""
        body: dict[str, Any] = {"role": "assistant"}
        content = self.refusal or self.content
        if content is not None:
            body["content"] = plain(content)
        if self.tool_calls:
            body["tool_calls"] = plain(self.tool_calls)
        return body


class ToolMessage(RequestModel):
    """The result of a tool call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(max_length=TOOL_CALL_ID_CHARACTERS_MAX)]
    name: Annotated[
        Annotated[str, Field(max_length=CALLED_NAME_CHARACTERS_MAX)] | None,
        IgnoredOption("the call has the function's name"),
    ] = None

    def for_engines(self) -> dict[str, Any]:
        """Return the message as engines get it."""
        return {"role": "tool", "content": plain(self.content), "tool_call_id": self.tool_call_id}


class FunctionMessage(SpokenMessage):
    """The result of a call in OpenAI's older form."""

    role: Annotated[
        Literal["function"],
        RefusedWords(
            {"function": "it is OpenAI's older form of tool results; send the role 'tool' with a tool_call_id"},
            after=True,
        ),
    ]
    name: Name = None


Message = Annotated[
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]

KINDS = {
    "role": "it must be 'system', 'developer', 'user', 'assistant' or 'tool'",
    "type": "it must be 'text' or 'refusal'",
}
"""The words for a wrong role of a message, and for a wrong type of an assistant's content part."""

_FIELDS_BY_ROLE = {
    get_args(each.model_fields["role"].annotation)[0]: each.model_fields.keys()
    for each in get_args(get_args(Message)[0])
}
_FIELDS = frozenset().union(*_FIELDS_BY_ROLE.values())


def drop_fields_of_other_roles(messages: Any) -> bool:
    """Drop fields of other roles that count as not given, in place; tell whether there was any.

    Clients with one class for all messages write null for each field that a role does not have.
    """
    dropped = False
    for message in messages if isinstance(messages, list) else ():
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _FIELDS_BY_ROLE:
            continue
        for name in (_FIELDS - _FIELDS_BY_ROLE[role]) & message.keys():
            if is_not_given(message[name]):
                del message[name]
                dropped = True
    return dropped
