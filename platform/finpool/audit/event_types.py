"""OpenAI's names of audit events: clients that check answers know no others."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

EventType = Literal[
    "api_key.created",
    "api_key.updated",
    "api_key.deleted",
    "project.created",
    "project.updated",
    "rate_limit.updated",
    "organization.updated",
]

_TYPE_OF_KIND: Mapping[str, EventType] = {
    "key.created": "api_key.created",
    "key.changed": "api_key.updated",
    "key.revoked": "api_key.deleted",
    "project.created": "project.created",
    "project.changed": "project.updated",
    "limits.changed": "rate_limit.updated",
}
"""Kinds that OpenAI has a name for. Every other kind, such as `usage.recorded`, is `organization.updated`."""

_ALL_OTHERS: EventType = "organization.updated"


def type_of(kind: str) -> EventType:
    """Return OpenAI's name of an event of this kind."""
    return _TYPE_OF_KIND.get(kind, _ALL_OTHERS)


def kinds_of(names: Iterable[str]) -> tuple[set[str], set[str] | None]:
    """Return the kinds that these names select, each OpenAI's or a kind itself.

    The second set is None, or every kind but those in it is selected as well.
    """
    wanted = set(names)
    named = {kind for kind, name in _TYPE_OF_KIND.items() if name in wanted}
    return wanted | named, set(_TYPE_OF_KIND) if _ALL_OTHERS in wanted else None


def subject_of(kind: str, tenant_id: str | None, body: Mapping[str, Any]) -> tuple[EventType, dict[str, Any]]:
    """Return the name of the event, and OpenAI's object about its subject."""
    name = type_of(kind)
    if name == "api_key.created":
        return name, {"id": body.get("key_id"), "data": {"scopes": [str(body["role"])] if "role" in body else []}}
    if name == "api_key.updated":
        return name, {"id": body.get("key_id"), "changes_requested": {}}
    if name == "api_key.deleted":
        return name, {"id": body.get("key_id")}
    if name == "project.created":
        return name, {"id": body.get("project_id"), "data": {"name": body.get("name"), "title": body.get("name")}}
    if name == "project.updated":
        return name, {"id": body.get("project_id"), "changes_requested": {"title": body.get("name")}}
    if name == "rate_limit.updated":
        rates = {
            "max_requests_per_1_minute": body.get("requests_per_minute"),
            "max_tokens_per_1_minute": body.get("tokens_per_minute"),
        }
        return name, {"id": f"{body.get('scope')}/{body.get('scope_id')}", "changes_requested": rates}
    return name, {"id": tenant_id, "changes_requested": {}}
