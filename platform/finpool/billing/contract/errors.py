"""Errors of contracts and of the pool's cost."""

from datetime import date

from finpool.kernel.errors import InvalidRequest, NotFound


class PaymentChangesAtOnce(InvalidRequest):
    """A contract that changes the payment terms must begin now, because held money cannot follow a later date."""

    code = "payment_changes_at_once"

    def __init__(self) -> None:
        super().__init__("A contract that changes payment begins at once: leave valid_from out.", param="valid_from")


class PoolCostNotSet(NotFound):
    """The pool's cost of this month is not set."""

    code = "pool_cost_not_set"

    def __init__(self, month: date) -> None:
        super().__init__(f"The pool's cost of {month:%Y-%m} is not set.", param="month")


class SharesOvercommitted(InvalidRequest):
    """The guaranteed shares of all tenants together would exceed 10,000 basis points."""

    code = "shares_overcommitted"

    def __init__(self, left_basis_points: int) -> None:
        super().__init__(
            f"Other tenants' guarantees leave {max(0, left_basis_points)} basis points.",
            param="service_share_min_basis_points",
        )
