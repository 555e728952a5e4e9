"""The ledger's accounts and transfers. An account's balance is the sum of what was posted to it."""

from enum import StrEnum


class TransferKind(StrEnum):
    """Why money moved."""

    OPENING = "opening"
    LEASE_GRANTED = "lease_granted"
    LEASE_RETURNED = "lease_returned"
    LEASE_CHARGED = "lease_charged"
    USAGE = "usage"
    ADJUSTMENT = "adjustment"
    TOP_UP = "top_up"
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    PAYMENT = "payment"


class Book(StrEnum):
    """A tenant's accounts of money. What the tenant owes is positive, what it is owed is negative."""

    UNBILLED = "unbilled"
    REVENUE = "revenue"
    RECEIVABLE = "receivable"
    FEES = "fees"
    TAX = "tax"
    ROUNDING = "rounding"
    CASH = "cash"
    PREPAID = "prepaid"


def available(budget_id: str) -> str:
    """Return the account that leases of a budget come out of; its balance is minus what is spent and held of it."""
    return f"available:{budget_id}"


def spent(budget_id: str) -> str:
    """Return the account of what is spent of a budget."""
    return f"spent:{budget_id}"


def leased(lease_id: str) -> str:
    """Return a lease's account: what the replica holds and has not spent."""
    return f"lease:{lease_id}"
