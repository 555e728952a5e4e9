"""Why a contract or the pool's cost cannot be set or read."""

from datetime import date

from finpool.kernel.errors import InvalidRequest, NotFound


class PaymentChangesAtOnce(InvalidRequest):
    """How a tenant pays changes with the contract that begins now: money that is held cannot wait for a clock."""

    code = "payment_changes_at_once"

    def __init__(self) -> None:
        super().__init__("A contract that changes payment begins at once: leave valid_from out.", param="valid_from")


class PoolCostNotSet(NotFound):
    """Nobody has set what the pool costs in this month."""

    code = "pool_cost_not_set"

    def __init__(self, month: date) -> None:
        super().__init__(f"What the pool costs in {month:%Y-%m} is not set.", param="month")
