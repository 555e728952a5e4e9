"""The limits of one tenant, and the limits that apply to one request."""

from collections.abc import Mapping
from dataclasses import dataclass

from finpool.kernel.ids import TenantId
from finpool.quota.models import QuotaLimit
from finpool.quota.schemas import (
    BudgetKey,
    LimitKey,
    Limits,
    Period,
    RateKey,
    Scope,
    SetBy,
    Subject,
    operator_limit,
)


@dataclass(frozen=True, slots=True)
class Applicable:
    """The limits that apply to one subject. `funded`: a budget of the whole tenant, set by the operator, pays.

    `stopped` is a budget of 0, which also stops requests that cost nothing.
    """

    budgets: tuple[BudgetKey, ...]
    rates: tuple[tuple[RateKey, int], ...]
    funded: bool
    stopped: BudgetKey | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """The largest cost (picos) and use (tokens) of one request, and the limits that it counts against."""

    tenant_id: TenantId
    applicable: Applicable
    amount_picos: int
    tokens: int


class TenantLimits:
    """The limits of one tenant."""

    def __init__(self, tenant_id: TenantId, limits: Mapping[LimitKey, Limits], *, prepaid: bool) -> None:
        self.tenant_id = tenant_id
        self.limits = limits
        self.prepaid = prepaid

    def applicable(self, subject: Subject) -> Applicable:
        """Return the limits that apply to a subject: those of its tenant, project, key and model."""
        ids = {
            Scope.TENANT: subject.tenant_id,
            Scope.PROJECT: subject.project_id,
            Scope.KEY: subject.key_id,
            Scope.MODEL: subject.model_id,
        }
        holding = [(key, each) for key, each in self.limits.items() if ids[key.scope] == key.scope_id]
        budgets = [BudgetKey(key, period) for key, each in holding for period, _ in each.budgets()]
        stopped = [BudgetKey(key, period) for key, each in holding for period, micros in each.budgets() if not micros]
        if self.prepaid:
            budgets.append(BudgetKey(operator_limit(self.tenant_id), Period.PREPAID))
        return Applicable(
            budgets=tuple(budgets),
            rates=tuple((RateKey(key, rate), limit) for key, each in holding for rate, limit in each.rates()),
            funded=any(each.limit.scope is Scope.TENANT and each.limit.set_by is SetBy.OPERATOR for each in budgets),
            stopped=stopped[0] if stopped else None,
        )

    def budget_limits(self) -> dict[BudgetKey, int]:
        """Return every budget with its limit in micros."""
        return {
            BudgetKey(key, period): micros for key, each in self.limits.items() for period, micros in each.budgets()
        }

    def rate_limits(self) -> dict[RateKey, int]:
        """Return every rate with its limit."""
        return {RateKey(key, rate): limit for key, each in self.limits.items() for rate, limit in each.rates()}


def key_of(row: QuotaLimit) -> LimitKey:
    """Return the scope and the author of a row's limits."""
    return LimitKey(SetBy(row.set_by), Scope(row.scope), row.scope_id)


def limits_of_row(row: QuotaLimit) -> Limits:
    """Return a row's limits."""
    return Limits(**{name: getattr(row, name) for name in Limits.model_fields})
