"""The refusals of a request over a limit: the limit, its rest, and its reset."""

from collections.abc import Iterable
from dataclasses import replace

from finpool.kernel.ids import LeaseId, TenantId
from finpool.kernel.money import PICOS_PER_MICRO, to_micros_ceiling
from finpool.quota.errors import InsufficientQuota, RateLimitExceeded, RequestAboveLimit
from finpool.quota.grant.schemas import BudgetNeed, BudgetRest, RateNeed
from finpool.quota.limits import Demand
from finpool.quota.reservation.rates import RateAllotment
from finpool.quota.schemas import BudgetKey, Period, Rate, duration

NO_BUDGET = "You exceeded your current quota: no budget was set for the tenant, so nothing may be spent."

REFUSAL_SECONDS = 0.02
"""How long the account's last refusal counts before the next request to it."""

_WORDS = {
    Period.DAY: "today's",
    Period.MONTH: "this month's",
    Period.TOTAL: "the total",
    Period.PREPAID: "the prepaid",
}


class LeasesReturning(Exception):
    """A budget does not cover a request yet, but this replica is returning other leases of it."""

    def __init__(self, refusal: InsufficientQuota) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class RateShort(Exception):
    """A rate has no room for a request. The request words the refusal, so that it agrees with the answer's headers."""

    def __init__(self, allotment: RateAllotment, at: float) -> None:
        super().__init__(str(allotment.key))
        self.allotment = allotment
        self.at = at


class RecentRefusals:
    """The budgets that did not cover a request within the last 20 ms; they are not requested again so soon."""

    def __init__(self) -> None:
        self._until: dict[tuple[TenantId, BudgetKey], tuple[float, BudgetRest, bool]] = {}

    def add(self, tenant_id: TenantId, rest: BudgetRest, now: float, *, returning: bool) -> None:
        """Store the account's rest of a budget."""
        self._until[(tenant_id, rest.need.key)] = (now + REFUSAL_SECONDS, rest, returning)

    def forget(self, tenant_id: TenantId) -> None:
        """Drop a tenant's refusals after a change of its limits."""
        self._until = {each: known for each, known in self._until.items() if each[0] != tenant_id}

    def outdate(self, tenant_id: TenantId, keys: Iterable[BudgetKey]) -> None:
        """Drop the refusals of budgets whose rest has become another by a grant."""
        for key in keys:
            self._until.pop((tenant_id, key), None)

    def require_none(self, demand: Demand, needs: Iterable[BudgetNeed], now: float) -> None:
        """Raise the stored refusal of a budget that still does not cover the request."""
        for need in needs:
            until, rest, returning = self._until.get((demand.tenant_id, need.key), (0.0, None, False))
            if rest is not None and now < until and need.needed_picos > rest.rest_picos:
                raise of_budget(replace(rest, need=need), demand.amount_picos, returning=returning)


def of_budget(rest: BudgetRest, amount_picos: int, *, returning: bool) -> InsufficientQuota | LeasesReturning:
    """Return the error for a budget that does not cover a request."""
    refusal = _budget(rest, amount_picos)
    return LeasesReturning(refusal) if returning else refusal


def require_room(needs: Iterable[tuple[RateAllotment, RateNeed]], now: float) -> None:
    """Raise `RateShort` without a request to the account: above the limit, full, or just short of room."""
    for allotment, need in needs:
        full = allotment.held(now) >= allotment.limit
        short = need.needed > allotment.room and now - allotment.asked_at < REFUSAL_SECONDS
        if need.needed > allotment.limit or (need.needed and full) or short:
            raise RateShort(allotment, now)


def stopped(key: BudgetKey, amount_picos: int) -> InsufficientQuota:
    """Return the error for a budget of 0."""
    return _budget(BudgetRest(BudgetNeed(key, LeaseId(""), amount_picos, 0), 0, 0, 0, None), amount_picos)


def _budget(rest: BudgetRest, amount_picos: int) -> InsufficientQuota:
    key = rest.need.key
    left_picos = max(0, amount_picos - rest.need.needed_picos + rest.rest_picos)
    left_micros = left_picos // PICOS_PER_MICRO
    resets = "" if rest.period_seconds is None else f"; it resets in {duration(int(rest.period_seconds * 1000))}"
    message = (
        f"You exceeded your current quota: {_WORDS[key.period]} budget of {key.limit.scope} {key.limit.scope_id}"
        f" (set by the {key.limit.set_by}) does not cover what this request may cost:"
        f" {left_micros} micros left here, {to_micros_ceiling(amount_picos)} needed{resets}."
    )
    headers = {
        "x-ratelimit-limit-budget": str(rest.limit_picos // PICOS_PER_MICRO),
        "x-ratelimit-remaining-budget": str(left_micros),
    }
    if rest.period_seconds is not None:
        headers["x-ratelimit-reset-budget"] = duration(int(rest.period_seconds * 1000))
    return InsufficientQuota(message, headers, left_picos)


def of_rate(short: RateShort, tokens: int) -> RequestAboveLimit | RateLimitExceeded:
    """Return the error for a rate without room for a request."""
    allotment, now = short.allotment, short.at
    limit = allotment.key.limit
    about = f"{limit.scope} {limit.scope_id}"
    if allotment.key.rate is Rate.CONCURRENCY:
        message = f"Limit of {allotment.limit} concurrent requests reached for {about} (set by the {limit.set_by})."
        wait_ms = allotment.wait_ms(1, now)
    else:
        needed = tokens if allotment.key.rate is Rate.TOKENS else 1
        message = (
            f"Limit of {allotment.limit} {allotment.key.rate} per minute reached for {about}"
            f" (set by the {limit.set_by}): "
            f"{allotment.status(now).remaining} left, {needed} needed."
        )
        wait_ms = allotment.wait_ms(needed, now)
    left_tokens = allotment.status(now).remaining if allotment.key.rate is Rate.TOKENS else None
    if wait_ms is None:
        return RequestAboveLimit(message, left_tokens)
    return RateLimitExceeded(message, wait_ms, left_tokens)
