"""How far the recorder is behind is a metric, read from the spool whenever metrics are collected."""

from pathlib import Path
from typing import Any

import orjson
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from finpool.apps.worker import lag_of
from finpool.kernel import telemetry
from finpool.kernel.clock import now
from finpool.metering.spool import file as spool_file


def points(reader: InMemoryMetricReader) -> dict[str, Any]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    metrics = [metric for each in data.resource_metrics for scope in each.scope_metrics for metric in scope.metrics]
    found: dict[str, Any] = {metric.name: metric.data.data_points for metric in metrics if metric.data.data_points}
    return {name: data_points[0].value for name, data_points in found.items()}


def test_records_that_wait_and_the_oldest_ones_age_are_exported(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    telemetry.observe_lag(lambda: lag_of(tmp_path), provider.get_meter("test"))
    assert points(reader) == {}
    connection = spool_file.connect(tmp_path)
    body = orjson.dumps({"settled_at": now().isoformat()})
    for _ in range(3):
        connection.execute("INSERT INTO record (kind, body) VALUES ('settlement', ?)", (body,))
    found = points(reader)
    assert found["finpool_spool_records_waiting"] == 3
    assert 0 <= found["finpool_spool_oldest_record_age_seconds"] < 600
    connection.execute("DELETE FROM record")
    assert points(reader) == {"finpool_spool_records_waiting": 0, "finpool_spool_oldest_record_age_seconds": 0.0}
    connection.close()
    (tmp_path / spool_file.FILE_NAME).write_bytes(b"damaged" * 1000)
    assert points(reader) == {}
    provider.shutdown()
