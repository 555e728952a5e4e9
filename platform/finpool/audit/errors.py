"""Errors of the audit log."""

from finpool.kernel.errors import InvalidRequest


class AuditEntryTooLarge(InvalidRequest):
    """The record of a change does not fit into an audit entry, so the change itself is refused."""

    code = "audit_entry_too_large"
