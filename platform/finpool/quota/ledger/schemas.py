"""The ledger's accounts and transfers. An account's balance is the sum of its postings."""

from enum import StrEnum


class TransferKind(StrEnum):
    """The reason of a transfer."""

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
    """A tenant's books. Debts of the tenant are positive, credits of the tenant are negative."""

    UNBILLED = "unbilled"
    REVENUE = "revenue"
    RECEIVABLE = "receivable"
    FEES = "fees"
    TAX = "tax"
    ROUNDING = "rounding"
    CASH = "cash"
    PREPAID = "prepaid"


def available(budget_id: str) -> str:
    """Return the account from which a budget's leases come; its balance is minus the spent and held amounts."""
    return f"available:{budget_id}"


def spent(budget_id: str) -> str:
    """Return the account of a budget's spending."""
    return f"spent:{budget_id}"


def leased(lease_id: str) -> str:
    """Return a lease's account: the amount that the replica holds unspent."""
    return f"lease:{lease_id}"
