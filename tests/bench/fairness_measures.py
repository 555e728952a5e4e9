"""The measures of a run: service differences in windows, throughput, times to the first token, shares."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairness_engine import INPUT_WEIGHT, OUTPUT_WEIGHT, WINDOW_SECONDS, Request, SimulatedEngine

WARM_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Measures:
    """One policy on one workload. Differences are in service (weighted tokens) a second, as VTC's paper has them."""

    difference_max: float
    difference_average: float
    tokens_per_second: float
    first_token_seconds: Mapping[str, float]
    service: Mapping[str, float]

    def ratio(self, one: str, other: str, weights: Mapping[str, int]) -> float:
        """Return how much one tenant was served beside another, each by its weight; 1 is fair."""
        return self.service[one] / weights.get(one, 1) / (self.service[other] / weights.get(other, 1))


def measure(
    engine: SimulatedEngine, requests: Sequence[Request], seconds: float, weights: Mapping[str, int]
) -> Measures:
    """Return what a run of so many seconds shows; the first minute, in which queues fill up, is left out."""
    served = engine.ledger.served
    asked = _by_window(
        (each.at, each.tenant, INPUT_WEIGHT * each.input_tokens + OUTPUT_WEIGHT * each.output_tokens)
        for each in requests
    )
    windows = range(int(WARM_UP_SECONDS // WINDOW_SECONDS), int(seconds // WINDOW_SECONDS))
    differences = [_difference(served[number], asked[number], weights) / WINDOW_SECONDS for number in windows]
    firsts: dict[str, list[float]] = defaultdict(list)
    for each in requests:
        if each.first_token_at >= 0:
            firsts[each.tenant].append(each.first_token_at - each.at)
    service: dict[str, float] = defaultdict(float)
    for number in windows:
        for tenant, amount in served[number].items():
            service[tenant] += amount
    tokens = sum(each.input_tokens + each.made for each in requests if each.made)
    return Measures(
        difference_max=max(differences),
        difference_average=statistics.fmean(differences),
        tokens_per_second=tokens / min(seconds, engine.now),
        first_token_seconds={tenant: statistics.median(each) for tenant, each in sorted(firsts.items())},
        service=service,
    )


def _by_window(events: Iterable[tuple[float, str, int]]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for at, tenant, amount in events:
        found[int(at // WINDOW_SECONDS)][tenant] += amount
    return found


def _difference(served: Mapping[str, float], asked: Mapping[str, float], weights: Mapping[str, int]) -> float:
    """Return by how much tenants fell behind the one served most, as far as they had asked for more."""
    tenants = {*served, *asked}
    by_weight = {tenant: served.get(tenant, 0.0) / weights.get(tenant, 1) for tenant in tenants}
    most = max(by_weight.values(), default=0.0)
    return sum(
        max(0.0, min(most - by_weight[tenant], asked.get(tenant, 0.0) / weights.get(tenant, 1) - by_weight[tenant]))
        for tenant in tenants
    )
