"""Hostile requests as data: each costs much more to read than to send, where nothing bounds it.

Tests send each to a door and watch the loop. A bench can send them at full speed beside another tenant.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from hostile_bodies import (
    MODEL,
    chat,
    many_patterns,
    many_references,
    nested,
    numbers_of_digits,
    parts,
    repeated,
    strict_tools,
    tool_calls,
    unknown_fields,
)
from list_fields import requests_with_long_lists

BODY_BYTES = 1_000_000
"""Just below the bound of every door."""

SERVED_OR_REFUSED = frozenset({2, 4})
REFUSED = frozenset({4})


@dataclass(frozen=True)
class HostileRequest:
    """One request; `status_classes` are the first digits of the right statuses."""

    name: str
    door: str
    method: str
    path: str
    body: Callable[[], bytes]
    status_classes: frozenset[int] = SERVED_OR_REFUSED
    headers: tuple[tuple[str, str], ...] = ()


def _chat(name: str, body: Callable[[], bytes], status_classes: frozenset[int] = SERVED_OR_REFUSED) -> HostileRequest:
    return HostileRequest(name, "inference", "POST", "/v1/chat/completions", body, status_classes)


def _message(content: Any) -> bytes:
    return chat(messages=[{"role": "user", "content": content}])


def _embedding(text: str) -> bytes:
    return json.dumps({"model": MODEL, "input": text}, ensure_ascii=False).encode()


CHATS = (
    _chat("half a million zeros as content", lambda: _message([0] * 490_000), REFUSED),
    _chat("zeros below the bound of values", lambda: _message([0] * 30_000), REFUSED),
    _chat("64 tools of 70 patterns of 30 classes", partial(many_patterns, 64, 70, 30), SERVED_OR_REFUSED),
    _chat("tools with as many patterns as fit", partial(many_patterns, 36, 70, 60), SERVED_OR_REFUSED),
    _chat("a megabyte of control tokens", lambda: _message("<|im_start|>" * 80_000)),
    _chat("tools that refer to themselves", partial(many_references, 58, 90), SERVED_OR_REFUSED),
    _chat("64 strict tools", partial(strict_tools, 64), REFUSED),
    _chat("37,000 text parts", partial(parts, 37_000), REFUSED),
    _chat("as many text parts as a message may have", partial(parts, 4_096)),
    _chat("a body of empty lists", lambda: chat(messages=[[]] * 330_000), REFUSED),
    _chat("a body of empty objects", lambda: chat(messages=[{}] * 330_000), REFUSED),
    _chat("objects below the bound of values", lambda: chat(messages=[{}] * 32_000), REFUSED),
    _chat("100,000 levels", partial(nested, 100_000), REFUSED),
    _chat("200 levels", partial(nested, 200), REFUSED),
    _chat("100,000 unknown fields", partial(unknown_fields, 95_000), REFUSED),
    _chat("as many unknown fields as an object may have", partial(unknown_fields, 1_000), REFUSED),
    _chat("a field that is repeated 160,000 times", partial(repeated, 160_000), REFUSED),
    _chat("a field that is repeated below the bound", partial(repeated, 30_000), REFUSED),
    _chat("a text of escapes", lambda: _message("").replace(b'""', b'"' + b"\\u003a" * 160_000 + b'"')),
    _chat("a text of backslashes", lambda: _message("\\" * 480_000)),
    _chat("a text of quotes", lambda: _message('"' * 480_000)),
    _chat("a text of commas", lambda: _message("," * 980_000)),
    _chat("a text of brackets", lambda: _message("[{" * 490_000)),
    _chat("a text that does not end", lambda: _message("")[:-4] + b'"' + b"a," * 480_000, REFUSED),
    _chat("a number of 900,000 digits", partial(numbers_of_digits, "n", ""), REFUSED),
    _chat("a fraction of 900,000 digits", partial(numbers_of_digits, "temperature", "1."), SERVED_OR_REFUSED),
    _chat("80 messages of 128 tool calls", partial(tool_calls, 80, 128, "{}"), REFUSED),
    _chat("arguments of empty lists", partial(tool_calls, 1, 1, "[" + "[]," * 300_000 + "0]"), REFUSED),
    _chat("250,000 stop strings", lambda: chat(stop=["x"] * 245_000), REFUSED),
    _chat("70,000 pairs of metadata", lambda: chat(metadata={str(each): "x" for each in range(70_000)}), REFUSED),
    _chat("a map of 60,000 logit biases", lambda: chat(logit_bias={str(each): 1 for each in range(60_000)}), REFUSED),
    _chat("lists in a field that no model sees", lambda: chat(messages=[_sent_back(300_000)]), REFUSED),
    _chat("the same below the bound of values", lambda: chat(messages=[_sent_back(30_000)])),
)


SMALL_CHATS = (
    _chat("a small tool of many classes", partial(many_patterns, 1, 15, 48)),
    _chat("13,000 zeros", lambda: _message([0] * 13_000), REFUSED),
    _chat("as many text parts as are parsed on the loop", partial(parts, 1_100)),
    _chat("2,000 unknown fields", partial(unknown_fields, 2_000), REFUSED),
    _chat("a field that is repeated 5,000 times", partial(repeated, 5_000), REFUSED),
    _chat("2,500 empty objects as messages", lambda: chat(messages=[{}] * 2_500), REFUSED),
    _chat("15,000 empty lists in a field that no model sees", lambda: chat(messages=[_sent_back(9_000)])),
    _chat("5,000 escaped colons", lambda: _message("").replace(b'""', b'"' + b"\\u003a" * 5_000 + b'"')),
)
"""Requests below the sizes that are parsed in a thread."""


def _sent_back(count: int) -> dict[str, Any]:
    return {"role": "assistant", "content": "x", "parsed": [[]] * count}


ACCENTS = "a" + "\u0301\u0323" * 240_000
"""Accents in the wrong order: to sort them takes a time that grows with the square of their number."""

EMBEDDINGS = tuple(
    HostileRequest(name, "inference", "POST", "/v1/embeddings", body)
    for name, body in (
        ("half a million accents on one letter", lambda: _embedding(ACCENTS)),
        ("ligatures that become 18 characters", lambda: _embedding("\ufdfa" * 320_000)),
        ("syllables that are composed of parts", lambda: _embedding("\u1100\u1161\u11a8" * 110_000)),
        ("characters without a space", lambda: _embedding("銀行" * 160_000)),
    )
)

HEADS = tuple(
    HostileRequest(f"{name} at the door {door}", door, "GET", path, bytes, REFUSED, headers)
    for door, path in (
        ("inference", "/v1/models"),
        ("tenant", "/v1/organization/limits"),
        ("operator", "/v1/tenants"),
        ("regulator", "/v1/tenants"),
    )
    for name, path, headers in (
        ("20,000 query parameters", f"{path}?{'&'.join(['a='] * 20_000)}", ()),
        ("20,000 lists in a query", f"{path}?{'&'.join(['a[]'] * 15_000)}", ()),
        ("a query of percent signs", f"{path}?a={'%41' * 20_000}", ()),
        ("a path of 60,000 characters", f"{path}/{'a' * 60_000}", ()),
        ("a path of 30,000 segments", f"{path}{'/a' * 30_000}", ()),
        ("a path of percent signs", f"{path}/{'%2f' * 10_000}", ()),
    )
)

MANY_HEADERS = HostileRequest(
    "10,000 headers", "inference", "GET", "/v1/models", bytes, SERVED_OR_REFUSED, (("a", "1"),) * 10_000
)


def catalogue(documents: dict[str, dict[str, Any]]) -> Iterator[HostileRequest]:
    """Yield every hostile request; `documents` are the doors' OpenAPI documents."""
    yield from (*CHATS, *SMALL_CHATS, *EMBEDDINGS, *HEADS, MANY_HEADERS)
    for door, document in documents.items():
        for name, method, path, body in requests_with_long_lists(document):
            yield HostileRequest(f"{name} of {method} {path}", door, method, path, body, REFUSED)
