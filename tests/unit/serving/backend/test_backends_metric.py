"""Which engines a gateway leaves alone is a metric."""

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from finpool.kernel import telemetry
from finpool.serving.backend.breaker import Breakers
from finpool.serving.errors import EngineFailed


def asked(reader: InMemoryMetricReader) -> dict[Any, Any]:
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = [
        each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics
    ]
    assert metric.name == "finpool_backend_asked"
    points: Any = metric.data.data_points
    return {point.attributes["finpool.backend"]: point.value for point in points}


def test_a_backend_that_fails_is_told_as_left_alone_and_another_is_not() -> None:
    reader = InMemoryMetricReader()
    breakers = Breakers(failures_max=1, open_seconds=60)
    telemetry.observe_backends(breakers.closed_by_backend, MeterProvider(metric_readers=[reader]).get_meter("test"))
    breakers.before("other_1")
    permit = breakers.before("model_1").enter()
    permit.note(EngineFailed("It failed."))
    permit.end(worked=False)
    assert asked(reader) == {"model_1": 0, "other_1": 1}
