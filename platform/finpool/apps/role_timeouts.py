"""How long each database role may wait, compute and hold a transaction open.

They end what a fault leaves behind: a connection whose client is gone, a transaction that somebody forgot, a statement
that never ends. A role may change them for its own session, so they are no wall against a role in the wrong hands.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The bounds of one role's sessions, in seconds."""

    lock: int
    statement: int
    idle_in_transaction: int


TIMEOUTS = {
    # The longest statement is the first load of all tenants' keys and limits.
    "inference": Timeouts(lock=10, statement=60, idle_in_transaction=30),
    # A bank's whole trail or a month of its usage takes seconds.
    "tenant": Timeouts(lock=10, statement=120, idle_in_transaction=120),
    # A month of all banks' usage becomes invoices; reconciliation asks for more time itself.
    "operator": Timeouts(lock=60, statement=900, idle_in_transaction=300),
    "regulator": Timeouts(lock=10, statement=300, idle_in_transaction=60),
    # A batch of a thousand records takes less than a second. Its locks hold up others, so a dead worker ends soon.
    "worker": Timeouts(lock=30, statement=60, idle_in_transaction=30),
    "pool": Timeouts(lock=30, statement=60, idle_in_transaction=60),
}


def settings_of(role: str) -> dict[str, str]:
    """Return the settings of a role's sessions, by Postgres's names."""
    bounds = TIMEOUTS[role]
    return {
        "lock_timeout": f"{bounds.lock}s",
        "statement_timeout": f"{bounds.statement}s",
        "idle_in_transaction_session_timeout": f"{bounds.idle_in_transaction}s",
    }
