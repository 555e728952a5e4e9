"""The types of OpenAI's official client: their fields, and a value for each."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

Values = Iterator[tuple[Any, tuple[int | str, ...]]]


def is_object(hint: Any) -> bool:
    """Tell whether a type is one of the client's objects."""
    return is_typeddict(hint) or (isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__"))


def fields_of(hint: Any) -> dict[str, Any]:
    """Return the fields of an object with their types."""
    return {name: _bare(each) for name, each in get_type_hints(hint, include_extras=True).items()}


def smallest(hint: Any) -> dict[str, Any]:
    """Return an object with its required fields alone."""
    hints = get_type_hints(hint, include_extras=True)
    return {name: next(values(each))[0] for name, each in hints.items() if get_origin(each) is Required}


def values(hint: Any) -> Values:
    """Yield values of a type with the path of one field: each object once with each of its fields, at any depth."""
    hint = _bare(hint)
    if is_object(hint):
        base = smallest(hint)
        for name, each in fields_of(hint).items():
            for value, path in values(each):
                yield {**base, name: value}, (name, *path)
        return
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        yield from ((each, ()) for each in arguments)
    elif origin is Union or str(origin) == "<class 'types.UnionType'>":
        for each in arguments:
            yield from values(each)
    elif _is_list(origin):
        yield from (([value], (0, *path)) for value, path in values(arguments[0]))
    elif origin is dict:
        yield {"x": next(values(arguments[1]))[0]}, ()
    else:
        yield {str: "x", int: 1, float: 0.5, bool: True, object: "x", type(None): None}[hint], ()


def _is_list(origin: Any) -> bool:
    return origin is not None and origin is not dict and (origin is list or issubclass(origin, Iterable))


def _bare(hint: Any) -> Any:
    while get_origin(hint) in (Required, NotRequired) or hasattr(hint, "__metadata__"):
        hint = get_args(hint)[0]
    return hint
