"""Rates over several replicas: their shares never pass the limit together, and none of it is lost."""

import asyncio
import random
from dataclasses import dataclass

import pytest
from quota_replicas import QuotaReplica, QuotaReplicas, StoppedClock

from finpool.kernel.errors import DomainError
from finpool.kernel.ids import TenantId
from finpool.quota.errors import RateLimitExceeded, RequestAboveLimit
from finpool.quota.reservation.service import Reservation
from finpool.quota.schemas import operator_limit

BANK = TenantId("bank-a")
WINDOW_SECONDS = 60.0


@dataclass
class Admitted:
    """One admitted request: when, where and with how many tokens; it has a reservation while it is under way."""

    at: float
    tokens: int
    replica: QuotaReplica
    reservation: Reservation | None


class Watch:
    """The admitted requests of all replicas, counted apart from the product."""

    def __init__(self, *, requests: int, tokens: int, concurrency: int) -> None:
        self.limits = (requests, tokens, concurrency)
        self.admitted: list[Admitted] = []
        self.most = [0, 0, 0]

    def admit(self, at: float, replica: QuotaReplica, reservation: Reservation) -> None:
        self.admitted.append(Admitted(at, reservation.tokens, replica, reservation))
        window = [each for each in self.admitted if each.at > at - WINDOW_SECONDS]
        counts = (len(window), sum(each.tokens for each in window), len(self.under_way()))
        self.most = [max(pair) for pair in zip(self.most, counts, strict=True)]
        assert all(count <= limit for count, limit in zip(counts, self.limits, strict=True)), counts

    def under_way(self, replica: QuotaReplica | None = None) -> list[Admitted]:
        return [each for each in self.admitted if each.reservation is not None and replica in (None, each.replica)]

    def settle(self, each: Admitted, tokens: int) -> None:
        assert each.reservation is not None
        each.replica.settle(each.reservation, tokens=tokens)
        self.end(each, tokens)

    def end(self, each: Admitted, tokens: int) -> None:
        each.tokens, each.reservation = tokens, None


async def one_request(pool_clock: StoppedClock, watch: Watch, replica: QuotaReplica, tokens: int) -> bool:
    try:
        reservation = await replica.reserve(tokens=tokens)
    except (RateLimitExceeded, RequestAboveLimit):
        return False
    watch.admit(pool_clock.seconds, replica, reservation)
    return True


@pytest.mark.parametrize(("replicas", "turn"), [(2, 0), (3, 1), (3, 2)])
async def test_no_interleaving_of_replicas_admits_more_than_the_limit_in_any_minute(
    pool: QuotaReplicas, clock: StoppedClock, seed: int, replicas: int, turn: int
) -> None:
    """A limit of X over N replicas admits X and not N times X, also if replicas are killed, restarted or idle
    meanwhile."""
    chance = random.Random(f"{seed}/{turn}")
    watch = Watch(requests=12, tokens=300, concurrency=4)
    await pool.add_bank(requests_per_minute=12, tokens_per_minute=300, concurrency=4)
    running = [await pool.add_replica(f"replica-{number}") for number in range(replicas)]
    for _ in range(90):
        match chance.choice(("ask", "ask", "ask", "burst", "end", "end", "wait", "wait", "tend", "kill")):
            case "ask":
                await one_request(clock, watch, chance.choice(running), chance.randint(0, 90))
            case "burst":
                asked = [(chance.choice(running), chance.randint(0, 60)) for _ in range(5)]
                await asyncio.gather(*(one_request(clock, watch, *each) for each in asked))
            case "end" if watch.under_way():
                ended = chance.choice(watch.under_way())
                watch.settle(ended, chance.randint(0, ended.tokens))
            case "wait":
                await clock.advance(chance.choice((0.1, 1.0, 7.0, 30.0)))
            case "tend":
                await chance.choice(running).allotments.return_unused()
            case "kill" if chance.random() < 0.3:
                number = chance.randrange(replicas)
                await running[number].renewed()
                for each in watch.under_way(running[number]):
                    watch.end(each, each.tokens)
                running[number] = await pool.add_replica(f"replica-{number}")
    for replica in running:
        await replica.renewed()
    assert watch.most[0] >= 3  # It was a test of limits that were reached.


async def admitted(replica: QuotaReplica, times: int, tokens: int = 1) -> int:
    """Return how many of so many requests are let through; those let through end at once, and count."""
    served = 0
    for _ in range(times):
        try:
            reservation = await replica.reserve(tokens=tokens)
        except DomainError:
            continue
        replica.settle(reservation, tokens=tokens)
        served += 1
    return served


async def test_a_replica_that_died_keeps_its_share_until_it_expires_and_no_longer(
    pool: QuotaReplicas, clock: StoppedClock
) -> None:
    await pool.add_bank(requests_per_minute=10)
    dead, alive = await pool.add_replica("dead"), await pool.add_replica("alive")
    assert await admitted(dead, 10) == 10
    await dead.renewed()
    # Nobody can know that it let nothing through since: its share stays taken.
    await clock.advance(61)
    assert await admitted(alive, 10) == 0
    await clock.advance(118)
    assert await admitted(alive, 10) == 0
    await clock.advance(2)
    assert await admitted(alive, 10) == 10


async def test_a_restarted_replica_does_not_forget_its_window(pool: QuotaReplicas, clock: StoppedClock) -> None:
    await pool.add_bank(requests_per_minute=10)
    assert await admitted(await pool.add_replica("one"), 12) == 10
    again = await pool.add_replica("one")
    assert await admitted(again, 10) == 0
    await clock.advance(59)
    assert await admitted(again, 10) == 0
    await clock.advance(2)
    assert await admitted(again, 12) == 10


async def test_a_killed_replica_comes_back_with_all_of_its_concurrency(
    pool: QuotaReplicas, clock: StoppedClock
) -> None:
    await pool.add_bank(concurrency=3)
    killed = await pool.add_replica("one")
    for _ in range(3):
        await killed.reserve()
    assert await admitted(killed, 1) == 0
    assert await admitted(await pool.add_replica("one"), 3) == 3


async def test_shares_that_are_not_used_come_back_so_that_one_replica_can_use_the_whole_limit(
    pool: QuotaReplicas, clock: StoppedClock
) -> None:
    await pool.add_bank(requests_per_minute=100, tokens_per_minute=1_000, concurrency=10)
    one, two = await pool.add_replica("one"), await pool.add_replica("two")
    assert await admitted(one, 60, tokens=1) == 60
    for _ in range(14):
        await clock.advance(5)
        await one.allotments.return_unused()
    assert await admitted(two, 120, tokens=1) == 100
    held = await asyncio.gather(*(two.reserve(tokens=0) for _ in range(2)), return_exceptions=True)
    assert {type(each) for each in held} == {RateLimitExceeded}


async def test_a_stopped_replica_leaves_its_share_to_the_others_a_window_later(
    pool: QuotaReplicas, clock: StoppedClock
) -> None:
    await pool.add_bank(requests_per_minute=10)
    one, two = await pool.add_replica("one"), await pool.add_replica("two")
    assert await admitted(one, 4) == 4
    await one.renewed()
    await one.quota.close()
    assert await admitted(two, 10) == 6
    await clock.advance(30)
    assert await admitted(two, 10) == 0
    await clock.advance(31)
    assert await admitted(two, 12) == 10


async def test_a_share_that_could_not_be_renewed_is_not_used_by_two(pool: QuotaReplicas, clock: StoppedClock) -> None:
    """A replica cut off from the database stops before the account gives its share to another."""
    await pool.add_bank(requests_per_minute=10)
    cut_off, other = await pool.add_replica("cut-off"), await pool.add_replica("other")
    rates = cut_off.allotments.rates
    assert await admitted(cut_off, 1) == 1
    await cut_off.renewed()
    (key, limit), *_ = cut_off.limits.of(BANK).rate_limits().items()
    assert rates.allotment(BANK, key, limit).fits(1, clock.seconds + 119)
    await clock.advance(121)
    assert not rates.allotment(BANK, key, limit).fits(1, clock.seconds)
    await clock.advance(60)
    assert await admitted(other, 12) == 10


async def lower(pool: QuotaReplicas, tokens: int) -> None:
    await pool.set_limits(operator_limit(BANK), budget_total_micros=10**15, tokens_per_minute=tokens)


async def test_a_lowered_limit_is_never_exceeded_by_the_sum_of_the_cut_shares(
    pool: QuotaReplicas, clock: StoppedClock
) -> None:
    await pool.add_bank(tokens_per_minute=1_000)
    running = [await pool.add_replica(name) for name in ("one", "two", "three")]
    await asyncio.gather(*(each.reserve(tokens=50) for each in running))
    for each in running:
        await each.renewed()
    await clock.advance(61)  # Earlier use counts no more; the shares are still held.
    await lower(pool, 100)
    for each in running:
        await each.allotments.return_unused()
    served = await asyncio.gather(*(admitted(each, 20, tokens=10) for each in running))
    for each in running:  # Their shares are written off, and the lower limit is free for every replica.
        await each.allotments.return_unused()
    served += [await admitted(each, 20, tokens=10) for each in running]
    assert 0 < sum(served) <= 10


async def test_what_was_used_before_a_limit_was_lowered_counts_against_the_lower_one(
    pool: QuotaReplicas, clock: StoppedClock
) -> None:
    await pool.add_bank(tokens_per_minute=1_000)
    running = [await pool.add_replica(name) for name in ("one", "two", "three")]
    assert [await admitted(each, 1, tokens=50) for each in running] == [1, 1, 1]
    await lower(pool, 100)
    for _ in range(3):
        for each in running:
            await each.allotments.return_unused()
            assert await admitted(each, 1, tokens=10) == 0
        await clock.advance(19)
    await clock.advance(4)
    for each in running:
        await each.allotments.return_unused()
    assert sum([await admitted(each, 20, tokens=10) for each in running]) == 10
