"""The needs of a replica, and the grants of an account."""

from dataclasses import dataclass

from finpool.kernel.ids import LeaseId
from finpool.quota.schemas import BudgetKey, RateKey


@dataclass(frozen=True, slots=True)
class BudgetNeed:
    """A lease that must grow by `needed_picos` and should grow by `wanted_picos`."""

    key: BudgetKey
    lease_id: LeaseId
    needed_picos: int
    wanted_picos: int


@dataclass(frozen=True, slots=True)
class RateNeed:
    """A rate share of `held` that must be at least `needed` and should be `wanted`."""

    key: RateKey
    held: int
    needed: int
    wanted: int


@dataclass(frozen=True, slots=True)
class BudgetRest:
    """The rest of a budget and the granted part of it. `period_seconds` is the time until its reset, or None."""

    need: BudgetNeed
    limit_picos: int
    rest_picos: int
    granted_picos: int
    period_seconds: float | None


@dataclass(frozen=True, slots=True)
class RateRest:
    """The part of a rate that other runs left, and this run's new share."""

    need: RateNeed
    room: int
    amount: int


@dataclass(frozen=True, slots=True)
class Grants:
    """The result of a grant. `returning`: other leases of this replica are being returned and may make room.

    `outlived` are leases that cannot grow, because their period is over or an operator closed them. `lifted`: a needed
    limit is no longer in force. In both cases nothing was granted.
    """

    budgets: tuple[BudgetRest, ...]
    rates: tuple[RateRest, ...]
    returning: bool = False
    outlived: frozenset[LeaseId] = frozenset()
    lifted: bool = False

    @property
    def whole(self) -> bool:
        """Whether every need was granted."""
        return not (self.outlived or self.lifted or self.short_budget or self.short_rate)

    @property
    def short_budget(self) -> BudgetRest | None:
        """The first budget that does not cover its need, or None."""
        return next((each for each in self.budgets if each.need.needed_picos > each.rest_picos), None)

    @property
    def short_rate(self) -> RateRest | None:
        """The first rate without room for its need, or None."""
        return next((each for each in self.rates if each.need.needed > each.room), None)
