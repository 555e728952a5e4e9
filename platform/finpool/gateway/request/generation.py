"""The fields that a chat and a text completion share: how an answer is generated, ended and sent."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo

from finpool.gateway.request.options import IgnoredOption, NotGivenIfEmpty, RequestModel, ServedOption, fault, plain
from finpool.serving.engine.control_tokens import BREAK
from finpool.serving.engine.seeds import SEEDS, folded

CHOICES_MAX = 4
STOPS_MAX = 4
STOP_CHARACTERS_MAX = 256

NOT_FOR_MODELS = "it describes the caller, and no model sees it"
NO_LOGIT_BIAS = "tokens have other numbers in each version of a model; leave it out"

_BREAK_BYTES = len(BREAK.encode())
_OPENINGS = (b"<", b"[")
"""The first characters of control tokens."""

CallerText = Annotated[str | None, Field(max_length=512)]


def _as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


Stop = Annotated[str, Field(min_length=1, max_length=STOP_CHARACTERS_MAX)]
"""An empty stop would end every answer before its first character."""

_StopList = Annotated[list[Stop], Field(max_length=STOPS_MAX, fail_fast=True)]

Stops = Annotated[
    _StopList | None, NotGivenIfEmpty, BeforeValidator(_as_list, json_schema_input_type=Stop | _StopList | None)
]

Seed = Annotated[
    Annotated[int, Field(ge=-(2**63), lt=2**63)] | None,
    ServedOption("every number is one, `-1` too: the same number gives the same draws"),
]


def break_bytes_max(content: bytes) -> int:
    """Return the most bytes that engines put into the control tokens of a text, or of a body with texts (ADR 0029)."""
    return _BREAK_BYTES * sum(map(content.count, _OPENINGS))


class StreamOptions(RequestModel):
    """Options of a stream."""

    include_usage: Annotated[bool | None, ServedOption("a last chunk has the usage")] = None
    include_obfuscation: Annotated[bool | None, IgnoredOption("no chunk is padded")] = None


def require_stream(options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
    """Return the options of a stream; raise a fault if they want a usage chunk of an answer that is not streamed."""
    if options is not None and options.include_usage and not info.data.get("stream"):
        raise fault("it needs stream to be true")
    return options


def engine_fields(request: BaseModel, names: Iterable[str]) -> dict[str, Any]:
    """Return the given fields out of `names` as engines get them."""
    body: dict[str, Any] = {}
    for name in names:
        value = getattr(request, name)
        if value is not None:
            body[name] = plain(value)
    if body.get("top_p") == 0:
        # Engines want a mass above 0, and only temperature 0 is greedy on all of them.
        del body["top_p"]
        body["temperature"] = 0.0
    if "seed" in body:
        # A version on another engine, such as a canary, gets the same number.
        body["seed"] = folded(body["seed"], SEEDS)
    return body
