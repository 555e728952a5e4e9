"""What a replica needs of a tenant's account, and what it gets."""

from dataclasses import dataclass

from finpool.kernel.ids import LeaseId
from finpool.quota.schemas import BudgetKey, RateKey


@dataclass(frozen=True, slots=True)
class BudgetNeed:
    """A lease that has to grow by `needed_picos`, and would rather by `wanted_picos`."""

    key: BudgetKey
    lease_id: LeaseId
    needed_picos: int
    wanted_picos: int


@dataclass(frozen=True, slots=True)
class RateNeed:
    """A share of `held` that has to be `needed` at least, and would rather be `wanted`."""

    key: RateKey
    held: int
    needed: int
    wanted: int


@dataclass(frozen=True, slots=True)
class BudgetRest:
    """What was left of a budget, and the part of it that was granted. `period_seconds`: until it resets, or None."""

    need: BudgetNeed
    limit_picos: int
    rest_picos: int
    granted_picos: int
    period_seconds: float | None


@dataclass(frozen=True, slots=True)
class RateRest:
    """What the other replicas left of a rate to this one, and the share that this one has now."""

    need: RateNeed
    room: int
    amount: int


@dataclass(frozen=True, slots=True)
class Grants:
    """What was granted. `returning`: leases of this replica are on their way back and may still make room.

    `outlived`: leases that cannot grow any more, because their budget's period is over or because an operator closed
    them. `lifted`: a limit was asked for that is not in force any more. In both cases nothing was granted.
    """

    budgets: tuple[BudgetRest, ...]
    rates: tuple[RateRest, ...]
    returning: bool = False
    outlived: frozenset[LeaseId] = frozenset()
    lifted: bool = False

    @property
    def whole(self) -> bool:
        """Tell whether all that was needed was granted."""
        return not (self.outlived or self.lifted or self.short_budget or self.short_rate)

    @property
    def short_budget(self) -> BudgetRest | None:
        """The budget that does not cover what is needed, if any."""
        return next((each for each in self.budgets if each.need.needed_picos > each.rest_picos), None)

    @property
    def short_rate(self) -> RateRest | None:
        """The rate that does not leave what is needed, if any."""
        return next((each for each in self.rates if each.need.needed > each.room), None)
