"""Replicas by the work that is ahead of an engine, not only by the requests under way."""

from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.catalogue.model.engine import LlamaCppEngine
from finpool.kernel.settings import Settings
from finpool.serving.engine.replicas import replica_options
from finpool.serving.engine.scaling import SERVICE_AHEAD, ReplicasWanted
from finpool.serving.engine.work_ahead import WorkAhead

counts = st.integers(0, 5_000)


@given(st.lists(st.tuples(counts, st.lists(counts), st.booleans())))
def test_what_is_ahead_is_the_sum_of_what_each_request_still_needs(requests: list[tuple[int, list[int], bool]]) -> None:
    ahead, left, under_way = WorkAhead(), 0, []
    for expected, computed, ends in requests:
        work, of_this = ahead.begin(expected), expected
        for service in sorted(computed):
            work.computed(service)
            of_this = max(0, expected - service)
        if ends:
            work.end()
        else:
            under_way.append(work)
            left += of_this
    assert ahead.service == left
    for work in under_way:
        work.end()
        work.end()
    assert ahead.service == 0


@dataclass
class Context:
    """What Serve's controller tells a policy, as far as ours looks at it."""

    current_num_replicas: int
    total_num_requests: float
    aggregated_metrics: Any = None
    target_num_replicas: int = 1
    config: Any = field(default_factory=lambda: SimpleNamespace(get_target_ongoing_requests=lambda: 4))


@pytest.mark.parametrize(
    ("requests", "ahead", "wanted"),
    [
        (0, {}, 0),
        (6, {}, 1.5),  # By requests: 6 of 4.
        (1, {"r1": 500, "r2": 1500}, 2),  # By service: 2000 of 1000.
        (6, {"r1": 1000}, 1.5),
    ],
)
def test_as_many_replicas_are_wanted_as_the_larger_of_both_measures_says(
    requests: float, ahead: dict[str, float], wanted: float
) -> None:
    context = Context(2, requests, {SERVICE_AHEAD: ahead})
    assert ReplicasWanted(service_ahead_max=1000)(context) == (wanted, {})


def test_without_a_replica_or_a_report_nothing_is_made_up() -> None:
    policy = ReplicasWanted(service_ahead_max=1000)
    assert policy(Context(0, 0, target_num_replicas=0)) == (0, {})
    assert policy(Context(1, 2, None)) == (0.5, {})


def engine_with(service_ahead_max: int | None) -> LlamaCppEngine:
    return LlamaCppEngine(name="llamacpp", slots=4, threads=1, replicas_max=2, service_ahead_max=service_ahead_max)


def test_serve_takes_the_policy_by_its_name_and_only_where_it_is_declared() -> None:
    options = replica_options(engine_with(700), Settings(), asleep=False)
    declared = options["autoscaling_config"]["policy"]
    module, _, name = declared["policy_function"].partition(":")
    policy = getattr(import_module(module), name)(**declared["policy_kwargs"])
    assert policy(Context(1, 0, {SERVICE_AHEAD: {"r1": 1400}})) == (2, {})
    plain = replica_options(engine_with(None), Settings(), asleep=False)
    assert "policy" not in plain["autoscaling_config"]
