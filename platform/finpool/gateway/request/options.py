"""The treatment of a field of OpenAI's API: served, refused or ignored.

A request's model names every field that OpenAI knows, each with one of these annotations or a plain type, which means
served. Parsing, the OpenAPI document and `docs/compatibility.md` follow from them.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

REFUSED = "refused"
"""The type of the error for a known option that is not served."""

FAULT = "fault"
"""The type of the error for a value that contradicts another one."""


class RequestModel(BaseModel):
    """Base of every part of a request: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def refusal(reason: str) -> PydanticCustomError:
    """Return the error for an option that is not served."""
    return PydanticCustomError(REFUSED, "{reason}", {"reason": reason})


def fault(reason: str, *path: int | str) -> PydanticCustomError:
    """Return the error for a wrong value at `path` within the validated one; `reason` follows `it` or a name."""
    return PydanticCustomError(FAULT, "{reason}", {"reason": reason, "path": path})


class ServedOption:
    """The field is served, by a model with the `capability` if one is named; `note` says what is special."""

    def __init__(self, note: str = "", *, capability: str | None = None) -> None:
        self.note = note
        self.capability = capability


class RefusedOption:
    """The field is known and not served: any value but null, an empty one and OpenAI's `defaults` is refused."""

    def __init__(self, reason: str, *defaults: Any) -> None:
        self.reason = reason
        self.defaults = defaults

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema that takes the values that count as not given, and makes them None."""
        return core_schema.no_info_plain_validator_function(self._require_not_given)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the values that count as not given."""
        return {"description": f"Not served: {self.reason}.", "enum": [None, [], {}, *self.defaults]}

    def _require_not_given(self, value: Any) -> None:
        if not (is_not_given(value) or _is_one_of(value, self.defaults)):
            raise refusal(self.reason)


class RefusedWords:
    """A field of which some of OpenAI's words are not served; `reasons` has a reason for each.

    `after` looks at words that the type takes, as a discriminator of a union must have it.
    """

    def __init__(self, reasons: dict[str, str], *, after: bool = False) -> None:
        self.reasons = reasons
        self._after = after

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the served words, behind the check for the others."""
        if self._after:
            return core_schema.no_info_after_validator_function(self._require_served, handler(source))
        return core_schema.no_info_before_validator_function(self._require_served, handler(source))

    def _require_served(self, value: Any) -> Any:
        if isinstance(value, str) and value in self.reasons:
            raise refusal(self.reasons[value])
        return value


class IgnoredOption:
    """The field is checked and then forgotten, because no answer depends on it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the field's own schema, whose value becomes None."""
        return core_schema.no_info_after_validator_function(_forget, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the field's own schema with the reason."""
        return {**handler(schema), "description": f"Ignored: {self.reason}."}


def needed_capabilities(request: type[RequestModel]) -> dict[str, str]:
    """Return the fields of a request that need a capability of the model, with the capability."""
    treatments = {name: treatment_of(field) for name, field in request.model_fields.items()}
    return {
        name: treatment.capability
        for name, treatment in treatments.items()
        if isinstance(treatment, ServedOption) and treatment.capability is not None
    }


def plain(value: Any) -> Any:
    """Return a validated value as engines get it, without nulls in its objects."""
    if isinstance(value, str):
        return value
    if hasattr(value, "for_engines"):
        return value.for_engines()
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_none=True)
    return [plain(each) for each in value] if isinstance(value, list) else value


def treatment_of(field: FieldInfo) -> ServedOption | RefusedOption | IgnoredOption:
    """Return the treatment of a field; one without an annotation is served."""
    found = [each for each in field.metadata if isinstance(each, ServedOption | RefusedOption | IgnoredOption)]
    return found[0] if found else ServedOption()


def _forget(_: Any) -> None:
    return None


def is_not_given(value: Any) -> bool:
    """Tell whether a value is null or empty."""
    return value is None or (isinstance(value, list | dict | str) and not value)


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Tell whether a value is among others; true is not 1."""
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


def _none_if_empty(value: Any) -> Any:
    return None if isinstance(value, list | dict) and not value else value


NotGivenIfEmpty = BeforeValidator(_none_if_empty)
"""An empty list or object counts as not given, as null does."""

Untyped = Annotated[Any, IgnoredOption("only answers carry it")]
"""A field of an answer that a client may send back with the message; no model sees it."""
