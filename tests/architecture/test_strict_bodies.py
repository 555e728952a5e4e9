"""No field of a request body takes a value of another JSON type: a number as text, or a number as a time.

The bodies of the inference path are read by classes of their own, and `tests/unit/gateway/request` holds them to that.
"""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from finpool.apps.openapi import doors

OTHERS: dict[Any, tuple[Any, ...]] = {
    int: ("1", True, 1.5),
    float: ("1", True),
    bool: ("true", 1),
    str: (1, True),
    AwareDatetime: (4_000_000_000, 4e9, "4000000000"),
}
"""For each type of a field, values that pydantic takes for it unless the field is strict."""


def fields_of(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str, FieldInfo]]:
    """Yield every field of a body, and those of the objects in it."""
    for name, field in model.model_fields.items():
        yield model, name, field
        for each in types_in(field.annotation):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from fields_of(each)


def types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for each in get_args(annotation):
        yield from types_in(each)


def leaves(annotation: Any) -> set[Any]:
    """Return the types that a value of this annotation may have, but for those within a list or an object."""
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*(leaves(each) for each in get_args(annotation)))
    if hasattr(annotation, "__metadata__"):
        return leaves(get_args(annotation)[0])
    return {annotation}


def bodies() -> set[type[BaseModel]]:
    """Return the body of every route that FastAPI reads."""
    routes = [route for app in doors().values() for route in app.routes if isinstance(route, APIRoute)]
    found = {route.body_field.field_info.annotation for route in routes if route.body_field is not None}
    return {each for each in found if isinstance(each, type) and issubclass(each, BaseModel)}


BODIES = bodies()
LOOKALIKES = {
    (model, name, value)
    for body in BODIES
    for model, name, field in fields_of(body)
    for kind, values in OTHERS.items()
    if leaves(field.annotation) - {type(None)} == {kind}
    for value in values
}


def test_bodies_with_numbers_and_times_are_found() -> None:
    assert {"NewContract", "NewCorrection", "NewTenant"} <= {each.__name__ for each in BODIES}
    kinds = {(model.__name__, name) for model, name, _ in LOOKALIKES}
    assert {("NewContract", "valid_from"), ("NewCorrection", "input_tokens"), ("NewPayment", "amount_micros")} <= kinds


@pytest.mark.parametrize(
    ("model", "name", "value"),
    sorted(LOOKALIKES, key=str),
    ids=lambda each: each.__name__ if isinstance(each, type) else repr(each),
)
def test_a_field_refuses_a_value_of_another_type(model: type[BaseModel], name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(model).validate_python({name: value})
    assert name in {each["loc"][0] for each in refused.value.errors() if each["type"] != "missing"}
