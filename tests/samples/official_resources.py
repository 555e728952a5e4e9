"""The methods of OpenAI's official client, found by walking its resources, and the least that each must be given."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import IO, Any, get_args, get_overloads, get_type_hints

from official_types import is_object, smallest, values
from openai._resource import SyncAPIResource

FILE = IO[bytes]
A_FILE = ("a.txt", b"text")
NOT_CALLED = {
    "connect": "opens a websocket in place of a request",
    "prepare": "reads files of this machine and sends nothing",
    "prepare_directory": "reads files of this machine and sends nothing",
    "for_result": "takes a result of a method of the same resource",
}
"""Names of methods that the walk leaves out, with the reason."""

VIEWS = ("with_raw_response", "with_streaming_response")


@dataclass(frozen=True)
class Method:
    """One method of a client, such as `chat.completions.create`, with the least arguments."""

    resource: str
    name: str
    arguments: dict[str, Any]

    @property
    def full_name(self) -> str:
        return f"{self.resource}.{self.name}"

    def of(self, client: Any, view: str = "") -> Any:
        """Return the bound method of a client, or of a view of its resource; None if the view does not have it."""
        target = client
        for part in self.resource.split("."):
            target = getattr(target, part)
        return getattr(getattr(target, view) if view else target, self.name, None)


def methods(client: Any) -> list[Method]:
    """Return every method of a synchronous client that sends a request."""
    return list(_methods(client, ""))


def _methods(resource: Any, path: str) -> Iterator[Method]:
    for name, attribute in sorted(vars(type(resource)).items()):
        if name.startswith("_") or name in VIEWS or name in NOT_CALLED:
            continue
        if isinstance(attribute, property | cached_property):
            below = getattr(resource, name)
            if isinstance(below, SyncAPIResource):
                yield from _methods(below, f"{path}.{name}" if path else name)
        elif inspect.isfunction(attribute) and path:
            yield Method(path, name, _least_arguments(attribute))


def _least_arguments(method: Any) -> dict[str, Any]:
    """Return the arguments of that way to call a method which requires the fewest, and no handler of events."""
    ways = [*get_overloads(inspect.unwrap(method)), method]
    plain = [each for each in ways if "event_handler" not in _required(each)]
    way = min(plain[:-1] or plain, key=lambda each: len(_required(each)))
    hints = get_type_hints(way, include_extras=True)
    return {name: least_value(hints[name]) for name in _required(way)}


def _required(way: Any) -> list[str]:
    return [
        each.name
        for each in list(inspect.signature(way).parameters.values())[1:]
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]


def least_value(hint: Any) -> Any:
    """Return a small value of a parameter's type."""
    if is_object(hint):
        return smallest(hint)
    if FILE in _within(hint):
        return A_FILE
    if PathLike[str] in _within(hint):
        return __file__
    return next(values(hint))[0]


def _within(hint: Any) -> Iterator[Any]:
    yield hint
    for each in get_args(hint):
        yield from _within(each)
