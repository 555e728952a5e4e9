"""Limits on a tenant, a project, a key and a model, set by either party: all hold, and the tightest wins."""

from typing import Any

import pytest
from quota_replicas import QuotaReplica, QuotaReplicas, StoppedClock

from finpool.kernel.errors import DomainError
from finpool.kernel.ids import TenantId
from finpool.quota.errors import InsufficientQuota, RateLimitExceeded, RequestAboveLimit
from finpool.quota.schemas import LimitKey, Scope, SetBy, Subject, operator_limit

BANK = TenantId("bank-a")
SUBJECT = Subject(BANK, "main", "key_1", "model-x")
MICRO = 10**6
SCOPES = [
    (set_by, scope, scope_id)
    for set_by in SetBy
    for scope, scope_id in zip(Scope, ("bank-a", "main", "key_1", "model-x"), strict=True)
]
LOOSE: dict[str, Any] = {
    "budget_total_micros": 10**9,
    "requests_per_minute": 10**6,
    "tokens_per_minute": 10**6,
    "concurrency": 10**6,
}


async def refusal(replica: QuotaReplica, subject: Subject = SUBJECT, micros: int = 1, tokens: int = 1) -> DomainError:
    with pytest.raises(DomainError) as raised:
        await replica.reserve(micros * MICRO, tokens, subject)
    return raised.value


@pytest.mark.parametrize(("set_by", "scope", "scope_id"), SCOPES)
async def test_the_tightest_budget_wins_and_the_answer_names_it(
    pool: QuotaReplicas, set_by: SetBy, scope: Scope, scope_id: str
) -> None:
    await pool.add_bank(**LOOSE)
    for key in SCOPES:
        if key != (SetBy.OPERATOR, Scope.TENANT, "bank-a"):
            await pool.set_limits(LimitKey(*key), **LOOSE)
    await pool.set_limits(LimitKey(set_by, scope, scope_id), budget_month_micros=5)
    replica = await pool.add_replica()
    replica.settle(await replica.reserve(2 * MICRO), 2 * MICRO)
    refused = await refusal(replica, micros=4)
    assert isinstance(refused, InsufficientQuota)
    assert f"this month's budget of {scope} {scope_id} (set by the {set_by})" in str(refused)
    assert "3 micros left here, 4 needed; it resets in" in str(refused)
    assert refused.left_picos == 3 * MICRO
    assert refused.headers["x-ratelimit-limit-budget"] == "5"
    assert refused.headers["x-ratelimit-remaining-budget"] == "3"
    assert refused.headers["x-ratelimit-reset-budget"]
    assert refused.headers["x-should-retry"] == "false"
    # A request that fits the rest is served: the refusal held nothing.
    await replica.reserve(3 * MICRO)


@pytest.mark.parametrize(("set_by", "scope", "scope_id"), SCOPES)
async def test_the_tightest_rate_wins_and_the_answer_says_when_to_come_back(
    pool: QuotaReplicas, clock: StoppedClock, set_by: SetBy, scope: Scope, scope_id: str
) -> None:
    await pool.add_bank(**LOOSE)
    key = LimitKey(set_by, scope, scope_id)
    budget: dict[str, Any] = {"budget_total_micros": 10**9} if key == operator_limit(BANK) else {}
    await pool.set_limits(key, **budget, requests_per_minute=2, tokens_per_minute=100)
    replica = await pool.add_replica()
    replica.settle(await replica.reserve(tokens=90), tokens=60)
    await clock.advance(10)
    refused = await refusal(replica, tokens=41)
    assert isinstance(refused, RateLimitExceeded)
    named = f"{scope} {scope_id} (set by the {set_by})"
    assert f"Limit of 100 tokens per minute reached for {named}: 40 left, 41 needed." in str(refused)
    assert refused.left_tokens == 40
    assert (refused.headers["retry-after-ms"], refused.headers["retry-after"]) == ("50001", "51")
    assert refused.headers["x-ratelimit-limit-tokens"] == "100"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "40"
    assert refused.headers["x-ratelimit-reset-tokens"] == "50s"
    assert refused.headers["x-ratelimit-remaining-requests"] == "1"
    replica.settle(await replica.reserve(tokens=40), tokens=40)
    refused = await refusal(replica, tokens=0)
    assert f"Limit of 2 requests per minute reached for {named}" in str(refused)
    await clock.advance(50.001)
    assert isinstance(await refusal(replica, tokens=101), RequestAboveLimit)
    await replica.reserve(tokens=60)


@pytest.mark.parametrize(("set_by", "scope", "scope_id"), SCOPES)
async def test_the_tightest_concurrency_wins_and_a_place_comes_back_on_every_way_out(
    pool: QuotaReplicas, set_by: SetBy, scope: Scope, scope_id: str
) -> None:
    await pool.add_bank(**LOOSE)
    key = LimitKey(set_by, scope, scope_id)
    budget: dict[str, Any] = {"budget_total_micros": 10**9} if key == operator_limit(BANK) else {}
    await pool.set_limits(key, **budget, concurrency=2)
    replica = await pool.add_replica()
    for end in (replica.settle, replica.quota.release, replica.settle):
        first, second = await replica.reserve(), await replica.reserve()
        refused = await refusal(replica)
        assert isinstance(refused, RateLimitExceeded)
        assert f"Limit of 2 concurrent requests reached for {scope} {scope_id} (set by the {set_by})" in str(refused)
        assert refused.headers["retry-after-ms"] == "500"
        end(first)
        end(second)


async def test_a_limit_on_one_project_key_or_model_does_not_touch_the_others(pool: QuotaReplicas) -> None:
    await pool.add_bank(**LOOSE)
    for scope, scope_id in ((Scope.PROJECT, "main"), (Scope.KEY, "key_1"), (Scope.MODEL, "model-x")):
        await pool.set_limits(LimitKey(SetBy.TENANT, scope, scope_id), budget_day_micros=0, requests_per_minute=0)
    replica = await pool.add_replica()
    await refusal(replica)
    await replica.reserve(MICRO, subject=Subject(BANK, "other", "key_2", "model-y"))
    for subject in (("main", "key_2", "model-y"), ("other", "key_1", "model-y"), ("other", "key_2", "model-x")):
        await refusal(replica, Subject(BANK, *subject))


async def test_an_owner_cannot_loosen_what_the_operator_set(pool: QuotaReplicas) -> None:
    await pool.add_bank(budget_total_micros=5, requests_per_minute=1)
    await pool.set_limits(LimitKey(SetBy.TENANT, Scope.TENANT, BANK), **LOOSE)
    replica = await pool.add_replica()
    assert "budget of tenant bank-a (set by the operator)" in str(await refusal(replica, micros=6))
    await replica.reserve(MICRO)
    assert "1 requests per minute reached for tenant bank-a (set by the operator)" in str(await refusal(replica))


async def test_a_budget_that_only_its_owner_set_pays_for_nothing(pool: QuotaReplicas) -> None:
    """Without a budget of the operator's a tenant may spend nothing, even if its owner allows its parts some."""
    await pool.add_bank(**(LOOSE | {"budget_total_micros": None}))
    for scope, scope_id in ((Scope.TENANT, "bank-a"), (Scope.PROJECT, "main")):
        await pool.set_limits(LimitKey(SetBy.TENANT, scope, scope_id), **LOOSE)
    replica = await pool.add_replica()
    assert "no budget was set for the tenant" in str(await refusal(replica))


async def test_a_relimited_key_is_held_to_it_in_every_replica_and_a_raise_is_of_use_at_once(
    pool: QuotaReplicas, clock: StoppedClock
) -> None:
    await pool.add_bank(**LOOSE)
    replicas = [await pool.add_replica("one"), await pool.add_replica("two")]
    key = LimitKey(SetBy.TENANT, Scope.KEY, "key_1")
    await pool.set_limits(key, tokens_per_minute=1_000)
    for replica in replicas:
        await replica.reserve(tokens=400)
    await pool.set_limits(key, tokens_per_minute=100)
    for replica in replicas:
        await refusal(replica, tokens=60)
    await pool.set_limits(key, tokens_per_minute=2_000)
    for replica in replicas:
        await replica.allotments.return_unused()
        await replica.reserve(tokens=500)
