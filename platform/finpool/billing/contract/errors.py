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


class SharesOvercommitted(InvalidRequest):
    """The shares that are guaranteed to tenants would be more than there is."""

    code = "shares_overcommitted"

    def __init__(self, left_basis_points: int) -> None:
        super().__init__(
            f"Other tenants' guarantees leave {max(0, left_basis_points)} basis points.",
            param="service_share_min_basis_points",
        )
