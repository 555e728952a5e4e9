"""Errors of the audit log."""

from finpool.kernel.errors import InvalidRequest


class AuditEntryTooLarge(InvalidRequest):
    """What would have to be recorded does not fit an entry, so the change itself is refused."""

    code = "audit_entry_too_large"
