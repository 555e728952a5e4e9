"""Whether one JSON schema of a body or an answer may take another's place, for clients that know the old one only."""

from collections.abc import Callable, Iterator
from typing import Any

Document = dict[str, Any]

AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
ONE_FORM = ("pattern", "format", "multipleOf", "uniqueItems", "propertyNames", "patternProperties")
"""Constraints that are hard to compare, so each new one counts as narrower."""


class Comparer:
    """Compares schemas of two documents of one door. A fault is a phrase such as `field 'n' must be given now`."""

    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new
        self._under_way: set[tuple[str, str, bool]] = set()

    def body(self, old: Document, new: Document, where: str) -> Iterator[str]:
        """Yield why something that clients send by the old schema is not taken by the new one."""
        yield from self._compared(old, new, where, is_body=True)

    def answer(self, old: Document, new: Document, where: str) -> Iterator[str]:
        """Yield why something that is answered by the new schema surprises clients that know the old one."""
        yield from self._compared(old, new, where, is_body=False)

    def _compared(self, old: Document, new: Document, where: str, *, is_body: bool) -> Iterator[str]:
        pair = (old.get("$ref", ""), new.get("$ref", ""), is_body)
        if all(pair[:2]) and pair in self._under_way:
            return  # A schema that holds itself: the comparison that has begun finds every fault.
        self._under_way.add(pair)
        try:
            old, new = resolved(self._old, old), resolved(self._new, new)
            if variants(old) or variants(new):
                yield from self._variants(old, new, where, is_body=is_body)
            else:
                yield from self._plain(old, new, where, is_body=is_body)
        finally:
            self._under_way.discard(pair)

    def _variants(self, old: Document, new: Document, where: str, *, is_body: bool) -> Iterator[str]:
        """Find for each variant that may come one that takes it; without any, name the faults of the nearest."""
        come, take = (old, new) if is_body else (new, old)
        for each in variants(come) or [come]:
            tried = [
                list(self._compared(*((each, other) if is_body else (other, each)), where, is_body=is_body))
                for other in variants(take) or [take]
            ]
            yield from min(tried, key=len)

    def _plain(self, old: Document, new: Document, where: str, *, is_body: bool) -> Iterator[str]:
        yield from _types(old, new, where, is_body=is_body)
        yield from _values(old, new, where, is_body=is_body)
        if is_body:
            yield from _constraints(old, new, where)
        if "items" in old and "items" in new:
            yield from self._compared(old["items"], new["items"], f"{where}[]", is_body=is_body)
        yield from self._fields(old, new, where, is_body=is_body)
        yield from self._others(old, new, where, is_body=is_body)

    def _fields(self, old: Document, new: Document, where: str, *, is_body: bool) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(before.keys() - now.keys()):
            yield f"field {_field(where, name)} is gone"
        for name in sorted(needed_now - needed_before if is_body else ()):
            yield f"field {_field(where, name)} must be given now"
        for name in sorted((needed_before - needed_now) & now.keys() if not is_body else ()):
            yield f"field {_field(where, name)} may be missing now"
        for name in sorted(before.keys() & now.keys()):
            yield from self._compared(before[name], now[name], _field(where, name), is_body=is_body)
            if is_body and before[name].get("default") != now[name].get("default"):
                yield f"field {_field(where, name)} has another default"

    def _others(self, old: Document, new: Document, where: str, *, is_body: bool) -> Iterator[str]:
        """Compare the rules for fields that `properties` does not name."""
        before, now = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if is_body and before is not False and now is False:
            yield f"{where or 'the body'} takes no other fields now"
        elif isinstance(before, dict) and isinstance(now, dict):
            yield from self._compared(before, now, f"{where}{{}}", is_body=is_body)


def resolved(document: Document, schema: Document) -> Document:
    """Return the schema that a reference names; keys beside the reference only describe."""
    while "$ref" in schema:
        target: Any = document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        schema = target
    return schema


def variants(schema: Document) -> list[Document]:
    """Return the schemas of which a value follows one; nothing for a schema without a choice."""
    found: list[Document] = schema.get("anyOf") or schema.get("oneOf") or []
    return found


def _field(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _types(old: Document, new: Document, where: str, *, is_body: bool) -> Iterator[str]:
    come, take = (old, new) if is_body else (new, old)
    taken, coming = _type_names(take), _type_names(come)
    surplus = coming - taken if taken else set()
    if "number" in taken:
        surplus.discard("integer")
    if taken and not coming:
        surplus = {"other types"}
    if surplus:
        verb = "takes no" if is_body else "may be"
        yield f"{where or 'the whole'} {verb} {' or '.join(sorted(surplus))} now"


def _type_names(schema: Document) -> set[str]:
    named = schema.get("type", [])
    return {named} if isinstance(named, str) else set(named)


def _values(old: Document, new: Document, where: str, *, is_body: bool) -> Iterator[str]:
    before, now = _enum(old), _enum(new)
    if is_body and now is not None:
        gone = [each for each in before if each not in now] if before is not None else ["any other value"]
        if gone:
            yield f"{where} does not take {', '.join(map(str, gone))} any more"
    if not is_body and before is not None:
        added = [each for each in now if each not in before] if now is not None else ["any other value"]
        if added:
            yield f"{where} may be {', '.join(map(str, added))} now"


def _enum(schema: Document) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _constraints(old: Document, new: Document, where: str) -> Iterator[str]:
    """Yield each constraint that makes a body narrower."""
    narrower: Callable[[float, float], bool]
    for names, narrower in ((AT_LEAST, lambda was, is_now: is_now > was), (AT_MOST, lambda was, is_now: is_now < was)):
        for name in names:
            if name in new and (name not in old or narrower(old[name], new[name])):
                yield f"{where} has {name} {new[name]:g} now"
    for name in ONE_FORM:
        if name in new and old.get(name) != new[name]:
            yield f"{where} has another {name}"
