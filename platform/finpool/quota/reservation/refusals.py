"""How a request that is over a limit is told: which limit, what is left and when it resets."""

from finpool.kernel.errors import DomainError
from finpool.kernel.ids import LeaseId
from finpool.kernel.money import PICOS_PER_MICRO, to_micros_ceiling
from finpool.quota.errors import InsufficientQuota, RateLimitExceeded, RequestAboveLimit
from finpool.quota.grant.schemas import BudgetNeed, BudgetRest
from finpool.quota.reservation.needs import Shortfall
from finpool.quota.reservation.rates import RateAllotment
from finpool.quota.schemas import BudgetKey, Period, Rate, duration

NO_BUDGET = "You exceeded your current quota: no budget was set for the tenant, so nothing may be spent."

_WORDS = {
    Period.DAY: "today's",
    Period.MONTH: "this month's",
    Period.TOTAL: "the total",
    Period.PREPAID: "the prepaid",
}


def of(shortfall: Shortfall, tokens: int) -> DomainError:
    """Return the error for what was missing."""
    if isinstance(shortfall.of, BudgetRest):
        return _budget(shortfall.of, shortfall.amount_picos)
    return _rate(shortfall.of, tokens, shortfall.at)


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


def _rate(share: RateAllotment, tokens: int, now: float) -> DomainError:
    limit = share.key.limit
    about = f"{limit.scope} {limit.scope_id}"
    if share.key.rate is Rate.CONCURRENCY:
        message = f"Limit of {share.limit} concurrent requests reached for {about} (set by the {limit.set_by})."
        wait_ms = share.wait_ms(1, now)
    else:
        needed = tokens if share.key.rate is Rate.TOKENS else 1
        message = (
            f"Limit of {share.limit} {share.key.rate} per minute reached for {about} (set by the {limit.set_by}): "
            f"{share.status(now).remaining} left, {needed} needed."
        )
        wait_ms = share.wait_ms(needed, now)
    left_tokens = share.status(now).remaining if share.key.rate is Rate.TOKENS else None
    if wait_ms is None:
        return RequestAboveLimit(message, left_tokens)
    return RateLimitExceeded(message, wait_ms, left_tokens)
