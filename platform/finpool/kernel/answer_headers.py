"""The headers of answers that clients read, each described once for the OpenAPI documents of all doors."""

from collections.abc import Iterable
from typing import Any

RETRY_AFTER = ("retry-after", "retry-after-ms")
SHOULD_RETRY = "x-should-retry"
CHALLENGE = "www-authenticate"
ACCEPT_ENCODING = "accept-encoding"
REQUEST_ID = "x-request-id"
REQUEST_ID_IF_ARRIVED = "x-request-id-if-arrived"
"""The name of the description, not of the header: the server itself refuses a request that has no id yet."""

REPLAYED = "idempotent-replayed"
CACHE_CONTROL = "cache-control"
BUFFERING = "x-accel-buffering"
OF_A_STREAM = (CACHE_CONTROL, BUFFERING)
ALWAYS_WITH_A_MODELS_ANSWER = ("openai-organization", "openai-version", "openai-processing-ms")
_AMOUNT = {"type": "integer", "minimum": 0}
_DURATION = {"type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+(ms|s))$"}
_ID = {"type": "string"}
_MEANINGS = {
    "requests": ("The requests that the tightest limit allows in any 60 seconds.", "The requests that are left of it."),
    "tokens": ("The tokens that the tightest limit allows in any 60 seconds.", "The tokens that are left of it."),
    "budget": ("The micros of the budget that does not cover the request.", "The micros that are left of it."),
}
_RESET = "The time until all of it is there again, such as `1m30s`."


def _rate_limit_names(*limits: str) -> tuple[str, ...]:
    return tuple(f"x-ratelimit-{value}-{limit}" for limit in limits for value in ("limit", "remaining", "reset"))


RATE_LIMITS = _rate_limit_names("requests", "tokens")
BUDGET = _rate_limit_names("budget")


def _rate_limits() -> dict[str, Any]:
    found = {}
    for limit, (allowed, left) in _MEANINGS.items():
        described = ((allowed, _AMOUNT), (left, _AMOUNT), (_RESET, _DURATION))
        for name, (meaning, schema) in zip(_rate_limit_names(limit), described, strict=True):
            found[name] = {"description": meaning, "schema": schema}
    return found


HEADERS: dict[str, dict[str, Any]] = {
    REQUEST_ID: {
        "description": "The id of the request: the platform's, or the client's own if that is well formed.",
        "required": True,
        "schema": _ID,
    },
    REQUEST_ID_IF_ARRIVED: {
        "description": "The id of the request. It is missing if the server refused the request before it had arrived.",
        "schema": _ID,
    },
    "retry-after": {"description": "Try again after so many seconds.", "schema": _AMOUNT},
    "retry-after-ms": {"description": "Try again after so many milliseconds.", "schema": _AMOUNT},
    SHOULD_RETRY: {"description": "`false`: the same request would fail again.", "schema": {"const": "false"}},
    CACHE_CONTROL: {"description": "With a stream: no cache keeps it.", "schema": {"const": "no-cache"}},
    BUFFERING: {"description": "With a stream: nginx passes each part on at once.", "schema": {"const": "no"}},
    REPLAYED: {
        "description": "`true`: this is the kept answer of an earlier request with the same `Idempotency-Key`.",
        "schema": {"const": "true"},
    },
    CHALLENGE: {
        "description": "The scheme to authenticate with (RFC 6750); with `error` if the credential is wrong.",
        "required": True,
        "schema": _ID,
    },
    ACCEPT_ENCODING: {"description": "The one encoding that is read.", "schema": {"const": "identity"}},
    "openai-organization": {"description": "The tenant of the key.", "required": True, "schema": _ID},
    "openai-version": {"description": "The version of OpenAI's API.", "required": True, "schema": _ID},
    "openai-processing-ms": {
        "description": "The time from the request to the headers of its answer.",
        "required": True,
        "schema": _AMOUNT,
    },
    **_rate_limits(),
}
"""Each description by its name; one with `required` is in every answer that names it."""


def retry_after(milliseconds: int) -> dict[str, str]:
    """Return the headers that tell when to try again: rounded up to seconds, as HTTP has it, and exactly."""
    return {"retry-after": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds)}


def described(names: Iterable[str]) -> dict[str, Any]:
    """Return the `headers` of a response in an OpenAPI document, each as a reference to its description."""
    return {name.removesuffix("-if-arrived"): {"$ref": f"#/components/headers/{name}"} for name in sorted(names)}
