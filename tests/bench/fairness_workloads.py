"""The published workloads, and a seeded trace in the place of the one that is no longer available."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fairness_engine import Request

SECONDS = 600.0
TRACE_TENANTS = 27
TRACE_PER_SECOND = 3.5
TRACE_SEED = 20260101
OTHER_TRACE_SEEDS = (1, 2, 3, 4, 5)
"""Each scheduler serves other requests of a trace, longer or shorter ones, so throughput is compared over several."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests over time. `backlogged` are the tenants that always have something waiting, so that shares are due."""

    name: str
    requests: list[Request]
    backlogged: tuple[str, ...] = ()
    weights: Mapping[str, int] = field(default_factory=dict)


def steady(tenant: str, per_minute: float, input_tokens: int, output_tokens: int) -> list[Request]:
    """Return requests at even distances."""
    count = int(SECONDS * per_minute / 60)
    return [Request(number * 60 / per_minute, tenant, input_tokens, output_tokens) for number in range(count)]


def poisson(seed: int, tenant: str, per_minute: float, input_tokens: int, output_tokens: int) -> list[Request]:
    """Return requests at random distances."""
    numbers, at, made = random.Random(seed), 0.0, []
    while (at := at + numbers.expovariate(per_minute / 60)) < SECONDS:
        made.append(Request(at, tenant, input_tokens, output_tokens))
    return made


def in_order(*parts: list[Request]) -> list[Request]:
    """Return all requests in the order of their arrival."""
    return sorted((each for part in parts for each in part), key=lambda request: request.at)


def overload() -> Workload:
    """Two tenants ask for more than there is, one of them for twice as much."""
    requests = in_order(steady("A", 1600, 256, 256), steady("B", 800, 256, 256))
    return Workload("overload, A sends twice as much", requests, ("A", "B"))


def unknown_lengths() -> Workload:
    """Two tenants ask for more than there is, with answers of 16 and 128 tokens under the same bound."""
    requests = in_order(steady("A", 6000, 64, 16), steady("B", 3000, 64, 128))
    return Workload("overload, A's answers 16 tokens, B's 128", requests, ("A", "B"))


def weighted() -> Workload:
    """Four tenants ask for more than there is and have weights of 1 to 4."""
    weights = {"A": 1, "B": 2, "C": 3, "D": 4}
    requests = in_order(*(steady(tenant, 1000, 256, 256) for tenant in weights))
    return Workload("weights 1:2:3:4", requests, tuple(weights), weights)


def on_off() -> Workload:
    """One tenant always asks for more than its half, the other does so every other minute."""
    half = [each for each in steady("B", 1200, 256, 256) if int(each.at // 60) % 2 == 0]
    return Workload("B on and off by the minute", in_order(steady("A", 1200, 256, 256), half))


def poisson_short_long() -> Workload:
    """Random arrivals: many short requests of one tenant, fewer long ones of another, both more than there is."""
    requests = in_order(poisson(1, "short", 4000, 64, 64), poisson(2, "long", 1000, 256, 512))
    return Workload("Poisson, short and long", requests, ("short", "long"))


def interactive_beside_flood() -> Workload:
    """A tenant asks something short every two seconds while its neighbour floods the engine."""
    chat = [Request(20 + 2.0 * number, "chat", 64, 32) for number in range(280)]
    return Workload("interactive beside a flood", in_order(steady("flood", 3000, 256, 256), chat))


def interactive_beside_long_prompts() -> Workload:
    """The same tenant while its neighbour sends more long prompts than the engine can compute."""
    prompts = steady("prompts", 60, 16_000, 4)
    return Workload("interactive beside prompts of 16,000 tokens", in_order(prompts, interactive_alone().requests))


def interactive_alone() -> Workload:
    """The same tenant without a neighbour."""
    chat = [Request(20 + 2.0 * number, "chat", 64, 32) for number in range(280)]
    return Workload("interactive alone", chat)


def trace(seed: int = TRACE_SEED) -> Workload:
    """Many tenants of very different sizes, lengths as spread out as conversations are: a few send most of it."""
    numbers, at, requests = random.Random(seed), 0.0, []
    tenants = [f"t{number:02}" for number in range(TRACE_TENANTS)]
    sizes = [1 / (number + 1) for number in range(TRACE_TENANTS)]
    while (at := at + numbers.expovariate(TRACE_PER_SECOND * 4)) < SECONDS:
        input_tokens = min(1024, 1 + int(numbers.lognormvariate(4.3, 1.0)))
        output_tokens = min(1024, 1 + int(numbers.lognormvariate(5.2, 0.9)))
        requests.append(Request(at, numbers.choices(tenants, sizes)[0], input_tokens, output_tokens))
    return Workload(f"seeded trace of {TRACE_TENANTS} tenants", requests)


WORKLOADS: tuple[Callable[[], Workload], ...] = (
    overload,
    unknown_lengths,
    weighted,
    on_off,
    poisson_short_long,
    interactive_alone,
    interactive_beside_flood,
    interactive_beside_long_prompts,
    trace,
)
