"""Errors of the audit log."""

from finpool.kernel.errors import InvalidRequest, NotFound


class SearchTooBroad(InvalidRequest):
    """No entry among the first that `resource_ids` searches names one of them, and more entries remain."""

    code = "search_too_broad"

    def __init__(self, searched: int) -> None:
        super().__init__(
            f"None of the next {searched} entries names one of these ids, and more remain. Narrow the search by"
            " effective_at, event_types, project_ids or actor_ids.",
            param="resource_ids",
        )


class AuditEntryTooLarge(InvalidRequest):
    """The record of a change does not fit into an audit entry, so the change itself is refused."""

    code = "audit_entry_too_large"


class EventNotSetAside(NotFound):
    """The quarantine holds no event with this number."""

    code = "event_not_set_aside"
