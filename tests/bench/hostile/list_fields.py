"""Long lists in every field of every route that takes one, found in an OpenAPI document."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

LEVELS_MAX = 5
BODY_METHODS = ("post", "put", "patch")
LISTS = {
    "490,000 zeros": ("0", 490_000),
    "330,000 empty lists": ("[]", 330_000),
    "30,000 zeros": ("0", 30_000),
    "10,000 empty objects": ("{}", 10_000),
    "1,500 empty objects": ("{}", 1_500),
}
"""An element, and how often it stands in the list."""

_MARK = "the list"

Named = tuple[str, str, str, Callable[[], bytes]]


def requests_with_long_lists(document: dict[str, Any]) -> Iterator[Named]:
    """Yield a name, method, path and body for each list of `LISTS` in each list-typed field."""
    for path, operations in document["paths"].items():
        for method in BODY_METHODS:
            content = operations.get(method, {}).get("requestBody", {}).get("content", {})
            if "application/json" not in content:
                continue
            for field, body in dict(_with_a_list(content["application/json"]["schema"], document, LEVELS_MAX)).items():
                for name, (element, count) in LISTS.items():
                    filled = partial(_filled, body, element, count)
                    yield f"{name} as {field or 'the body'}", method.upper(), re.sub(r"\{\w+\}", "x", path), filled


def _filled(body: Any, element: str, count: int) -> bytes:
    return json.dumps(body).replace(f'"{_MARK}"', "[" + ",".join([element] * count) + "]").encode()


def _with_a_list(schema: dict[str, Any], document: dict[str, Any], levels: int) -> Iterator[tuple[str, Any]]:
    """Yield the path of each list-typed part of a schema, with the least document that has it."""
    if levels == 0:
        return
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _with_a_list(document["components"]["schemas"][name], document, levels)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _with_a_list(branch, document, levels)
    if schema.get("type") == "array":
        yield "", _MARK
        for field, body in _with_a_list(schema.get("items", {}), document, levels):
            yield f"[].{field}".removesuffix("."), [body]
    for name, part in schema.get("properties", {}).items():
        for field, body in _with_a_list(part, document, levels - 1):
            yield f"{name}.{field}".removesuffix("."), {name: body}
