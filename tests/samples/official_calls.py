"""Calls of every method of OpenAI's official client, with their outcomes."""

import json
import warnings
from collections.abc import Iterable
from typing import Any

import httpx2
import openai
from official_resources import Method
from openai import AsyncOpenAI, OpenAI

SERVED = "served"
UNKNOWN_URL = "unknown_url"
REASON = "It is not served: "
ERROR_FIELDS = {"message", "type", "param", "code"}

Outcome = str
"""`served`, or the code of an OpenAI error."""


class CallFault(AssertionError):
    """An answer that is neither served nor a readable refusal."""


def call(client: OpenAI, method: Method, arguments: dict[str, Any], view: str = "") -> Outcome | None:
    """Call a method, and return its outcome; None if the view does not have the method."""
    bound = method.of(client, view)
    if bound is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            _read(bound(**arguments), view)
        except openai.APIStatusError as error:
            return _refusal(method, error)
    return SERVED


async def call_async(client: AsyncOpenAI, method: Method, arguments: dict[str, Any]) -> Outcome | None:
    """Call a method of the asynchronous client; None if that has no such method."""
    bound = method.of(client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            made = bound(**arguments)
            if hasattr(made, "__aenter__"):
                async with made as stream:
                    async for _ in stream:
                        pass
            else:
                await made
        except openai.APIStatusError as error:
            return _refusal(method, error)
    return SERVED


def _read(made: Any, view: str) -> None:
    """Read the result of a call to its end, and hold a raw answer to its type."""
    if hasattr(made, "__enter__"):
        with made as opened:
            if view:
                opened.parse()
            else:
                for _ in opened:
                    pass
    elif view:
        made.parse()


def _refusal(method: Method, error: openai.APIStatusError) -> Outcome:
    """Return the code of a refusal; raise `CallFault` unless it is one in OpenAI's shape."""
    response: httpx2.Response = error.response
    where = f"{method.full_name}: {response.status_code}"
    if response.status_code >= 500 or response.headers["content-type"] != "application/json":
        raise CallFault(f"{where} {response.headers['content-type']}")
    body = json.loads(response.read())
    if body.keys() != {"error"} or body["error"].keys() != ERROR_FIELDS or not body["error"]["message"]:
        raise CallFault(f"{where} {body}")
    if "x-request-id" not in response.headers:
        raise CallFault(f"{where} has no id")
    code: str = body["error"]["code"]
    if code == UNKNOWN_URL and REASON not in body["error"]["message"]:
        raise CallFault(f"{where} gives no reason: {body['error']['message']}")
    return code


def group_of(method: Method) -> str:
    """Return the row of a method in the table: the resource, and one more level below `admin` and `beta`."""
    parts = method.resource.split(".")
    depth = {"admin": 3, "beta": 2}.get(parts[0], 1)
    return ".".join(parts[:depth])


def table(outcomes: Iterable[tuple[Method, Outcome]]) -> str:
    """Return the outcomes by resource, as a Markdown table with its sums."""
    rows: dict[str, list[tuple[Method, Outcome]]] = {}
    for method, outcome in outcomes:
        rows.setdefault(group_of(method), []).append((method, outcome))
    heads = ("resource", "methods", "served", "refused", "served methods", "codes of refusals")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    sums = [0, 0]
    for group, calls in sorted(rows.items()):
        done = [method.full_name.removeprefix(f"{group}.") for method, outcome in calls if outcome == SERVED]
        codes = sorted({outcome for _, outcome in calls if outcome != SERVED})
        sums = [sums[0] + len(calls), sums[1] + len(done)]
        named = [", ".join(f"`{each}`" for each in names) for names in (done, codes)]
        lines.append(f"| `{group}` | {len(calls)} | {len(done)} | {len(calls) - len(done)} | {named[0]} | {named[1]} |")
    lines.append(f"| all | {sums[0]} | {sums[1]} | {sums[0] - sums[1]} |  |  |")
    return "\n".join(lines)
